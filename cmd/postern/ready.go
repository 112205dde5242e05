package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readyName is the file in the data directory that says where a running "postern up" listens.
const readyName = "ready.json"

// Ready is the document that "postern up" writes once everything listens: all that a client, a test or a script needs
// to use it. It holds secrets of the embedded cloud and is readable by its owner only.
type Ready struct {
	APIURL         string         `json:"api_url"`
	Token          string         `json:"token"`
	AWSEndpointURL string         `json:"aws_endpoint_url"`
	Region         string         `json:"region"`
	Accounts       []ReadyAccount `json:"accounts"`
	SOCKSAddr      string         `json:"socks_addr"`
	HTTPProxyAddr  string         `json:"http_proxy_addr"`
	DNSAddr        string         `json:"dns_addr"` // the customer's VPC's resolver; every account has its own below
	Gateway        ReadyGateway   `json:"gateway"`
	ClusterID      string         `json:"cluster_id"`
	ProjectID      string         `json:"project_id"`
	ServiceName    string         `json:"service_name"`
	ServiceID      string         `json:"service_id"`
	PrivateDomain  string         `json:"private_domain"` // the cluster's private name; its sub-names are the gateway's
	PublicDomain   string         `json:"public_domain"`  // the cluster's public name
	CAFile         string         `json:"ca_file"`
}

// ReadyAccount is one account of the embedded cloud with its default network. Role is vendor, customer or stranger.
type ReadyAccount struct {
	Role            string   `json:"role"`
	AccountID       string   `json:"account_id"`
	AccessKeyID     string   `json:"access_key_id"`
	SecretAccessKey string   `json:"secret_access_key"`
	VPCID           string   `json:"vpc_id"`
	SubnetIDs       []string `json:"subnet_ids"`
	SecurityGroupID string   `json:"security_group_id"`
	DNSAddr         string   `json:"dns_addr"`
}

// ReadyGateway says where the gateway listens.
type ReadyGateway struct {
	PublicAddr  string `json:"public_addr"`
	PrivateAddr string `json:"private_addr"`
}

// account returns the account of a role.
func (r *Ready) account(role string) (ReadyAccount, bool) {
	for _, acc := range r.Accounts {
		if acc.Role == role {
			return acc, true
		}
	}
	return ReadyAccount{}, false
}

// owner returns the account that a VPC of the embedded cloud belongs to, and "" where that is not known. r may be nil.
func (r *Ready) owner(vpcID string) string {
	if r == nil {
		return ""
	}
	for _, acc := range r.Accounts {
		if acc.VPCID == vpcID {
			return acc.AccountID
		}
	}
	return ""
}

// writeReady writes r to file, whole or not at all.
func writeReady(file string, r *Ready) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(file, append(b, '\n'))
}

// readReady reads what a running "postern up" left in dir. The error satisfies os.ErrNotExist when none did.
func readReady(dir string) (*Ready, error) {
	name := filepath.Join(dir, readyName)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var r Ready
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; \"postern up --data %s\" writes it anew", name, err, dir)
	}
	return &r, nil
}

// replaceFile puts data in the place of name through a temporary file in the same folder, readable by its owner only.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what went wrong before is what counts
	}
	return err
}
