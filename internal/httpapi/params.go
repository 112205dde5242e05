package httpapi

import (
	"github.com/postern/postern/internal/control"
	"github.com/postern/postern/internal/link"
)

// ClusterPath is the cluster in a path. (Exported, as its kin below, because huma skips embedded structs that are not.)
type ClusterPath struct {
	ClusterID string `path:"cluster_id" doc:"The cluster's id" example:"0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11"`
}

func (p ClusterPath) cluster() (link.ID, error) { return link.ParseID("cluster_id", p.ClusterID) }

// ProjectPath is the project in a path.
type ProjectPath struct {
	ProjectID string `path:"project_id" doc:"The project's id"`
}

func (p ProjectPath) project() (link.ID, error) { return link.ParseID("project_id", p.ProjectID) }

// OwnerPath is a cluster's trusted owner in a path.
type OwnerPath struct {
	ClusterPath
	OwnerID string `path:"owner_id" doc:"The trusted owner's id"`
}

func (p OwnerPath) owner() (cluster, owner link.ID, err error) {
	if cluster, err = p.cluster(); err != nil {
		return "", "", err
	}
	owner, err = link.ParseID("owner_id", p.OwnerID)
	return cluster, owner, err
}

// ProjectOwnerPath is a project's trusted owner in a path.
type ProjectOwnerPath struct {
	ProjectPath
	OwnerID string `path:"owner_id" doc:"The trusted owner's id"`
}

func (p ProjectOwnerPath) owner() (project, owner link.ID, err error) {
	if project, err = p.project(); err != nil {
		return "", "", err
	}
	owner, err = link.ParseID("owner_id", p.OwnerID)
	return project, owner, err
}

// ProjectEndpointPath is an endpoint of a project in a path.
type ProjectEndpointPath struct {
	ProjectPath
	EndpointID string `path:"endpoint_id" doc:"The cloud's id of the endpoint, escaped as one segment" example:"vpce-0a1b2c3d4e5f60718"`
}

// EndpointPath is an endpoint of a cluster in a path.
type EndpointPath struct {
	ClusterPath
	EndpointID string `path:"endpoint_id" doc:"The cloud's id of the endpoint, escaped as one segment" example:"vpce-0a1b2c3d4e5f60718"`
}

// RegionPath is a provider's region in a path.
type RegionPath struct {
	Provider string `path:"provider" enum:"AWS,GCP,AZURE"`
	Region   string `path:"region" doc:"The provider's name of the region" example:"us-east-1"`
}

// PageQuery asks for a part of a list.
type PageQuery struct {
	Page  string `query:"pagination.page" doc:"The previous answer's next_page; empty for the beginning"`
	Limit int    `query:"pagination.limit" minimum:"0" doc:"How many at most: 100 when 0, at most 500"`
	Order string `query:"pagination.sort_order" enum:"ASC,DESC" doc:"DESC for the other way round"`
}

func (q PageQuery) page() control.Page {
	return control.Page{Token: q.Page, Limit: q.Limit, Descending: q.Order == "DESC"}
}
