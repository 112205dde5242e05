package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postern/postern/internal/audit"
	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/policy"
	"github.com/postern/postern/internal/store"
)

// minToken is the shortest token, in bytes, that is taken: 128 random bits in base64.
const minToken = 22

// PutToken makes token the one by which name is known as role; an earlier token of that name is no longer good. It is
// for the process that runs the control plane, which has no caller. Only the token's hash is kept.
func (p *Plane) PutToken(ctx context.Context, name string, role policy.Role, token string) error {
	if err := checkToken(name, role, token); err != nil {
		return err
	}
	return p.st.Write(ctx, func(tx *store.Tx) error { return tx.PutToken(name, string(role), token) })
}

// AddToken does so unless there is a token of that name already, and reports whether it did.
func (p *Plane) AddToken(ctx context.Context, name string, role policy.Role, token string) (added bool, err error) {
	if err := checkToken(name, role, token); err != nil {
		return false, err
	}
	err = p.st.Write(ctx, func(tx *store.Tx) (err error) {
		added, err = tx.AddToken(name, string(role), token)
		return err
	})
	return added, err
}

// HasToken tells whether there is a token of that name. Like PutToken it is for the process.
func (p *Plane) HasToken(ctx context.Context, name string) (has bool, err error) {
	err = p.st.Read(ctx, func(tx *store.Tx) (err error) {
		has, err = tx.HasToken(name)
		return err
	})
	return has, err
}

func checkToken(name string, role policy.Role, token string) error {
	if name == "" || len(token) < minToken || role != policy.Operator && role != policy.Gateway {
		return fmt.Errorf("a token needs a name, a role and at least %d bytes", minToken)
	}
	return nil
}

// refusal is what a caller is told that may not; nil for one that may.
func refusal(c policy.Caller, d policy.Permission) error {
	switch {
	case d.Allow:
		return nil
	case c.Role == policy.Anonymous:
		return &link.Error{Kind: link.Unauthenticated, Reason: d.Rule, Message: d.Reason}
	default:
		return &link.Error{Kind: link.Denied, Reason: d.Rule, Message: d.Reason}
	}
}

// may refuses what the caller may not do to an object that stands where within does: mostly itself; what is to be made
// stands in what it is made in. Of what the caller may not see it says what it says when there is none.
func may(tx *store.Tx, c policy.Caller, a policy.Action, of, within link.ObjectRef) (verdict, error) {
	at, err := tx.PlaceOf(within)
	nowhere := errors.Is(err, store.ErrNotFound)
	if err != nil && !nowhere {
		return verdict{}, err
	}
	d := policy.May(c, a, of, at)
	if !d.Allow && c.Role == policy.Member && (nowhere || !d.Visible) {
		return verdict{d, a, of, at}, absent(within)
	}
	return verdict{d, a, of, at}, refusal(c, d)
}

// read runs f over one state of the database when the caller may read the object.
func (p *Plane) read(ctx context.Context, c policy.Caller, of link.ObjectRef, f func(*store.Tx) error) error {
	joined := p.st.Joined(ctx)
	var v verdict
	err := p.st.Read(ctx, func(tx *store.Tx) (err error) {
		if joined { // a change is going to follow, by what this read says
			if err := tx.LockOwner(of); err != nil {
				return err
			}
		}
		if v, err = may(tx, c, policy.Read, of, of); err != nil {
			return err
		}
		return f(tx)
	})
	return p.told(ctx, c, v, err)
}

// change runs f in one transaction when the caller may change the object. Changes of what belongs to one cluster come one
// after the other: what f reads of it stays so until f has decided. f may be run again, as store.Store.Write says.
func (p *Plane) change(ctx context.Context, c policy.Caller, of link.ObjectRef, f func(*change) error) error {
	return p.act(ctx, c, policy.Change, of, of, f)
}

// act runs f in one transaction when the caller may do what it does to the object, which stands where within does.
func (p *Plane) act(ctx context.Context, c policy.Caller, a policy.Action, of, within link.ObjectRef, f func(*change) error) error {
	return p.attempt(ctx, c, func(ch *change) (err error) {
		if ch.verdict, err = may(ch.Tx, c, a, of, within); err != nil {
			return err
		}
		if err := ch.LockOwner(of); err != nil {
			return err
		}
		if within != of {
			if err := ch.LockOwner(within); err != nil {
				return err
			}
		}
		return f(ch)
	})
}

// attempt runs f in one transaction on behalf of a caller. What the caller may is for f to find out, and to note as the
// verdict of the change, refused or not.
func (p *Plane) attempt(ctx context.Context, c policy.Caller, f func(*change) error) error {
	var v verdict
	err := p.write(ctx, func(tx *store.Tx) error {
		ch := &change{Tx: tx, caller: c}
		err := f(ch)
		v = ch.verdict
		return err
	})
	return p.told(ctx, c, v, err)
}

// mostSwaps is how often a write is decided anew because a look at the cloud was quicker.
const mostSwaps = 10

// write runs f in one transaction, and again when what f has read was changed before f could.
func (p *Plane) write(ctx context.Context, f func(*store.Tx) error) error {
	for try := 1; ; try++ {
		err := p.st.Write(ctx, f)
		if !errors.Is(err, store.ErrChanged) || try == mostSwaps {
			return err
		}
	}
}

// change is a transaction on behalf of a caller.
type change struct {
	*store.Tx
	caller policy.Caller
	verdict

	late []audit.Entry // refusals to write down once the transaction is over
}

// note writes a line of an object's history.
func (ch *change) note(of link.ObjectRef, typ, reason, format string, args ...any) error {
	return ch.AddEvent(link.Event{Object: of, Type: typ, Reason: reason, Message: fmt.Sprintf(format, args...), Actor: ch.caller.Name})
}

// changed is note for a change of what an object is, which stands in the audit log as well: before and after are its values,
// without secrets, nil where there was or is none.
func (ch *change) changed(of link.ObjectRef, typ, reason string, before, after any, format string, args ...any) error {
	return errors.Join(ch.note(of, typ, reason, format, args...), ch.audit(of, typ, reason, before, after, fmt.Sprintf(format, args...)))
}

// part names what is of a kind and belongs to a cluster, a project or an organisation: all of it, or with a key one.
func part(kind string, of link.ID, key ...string) link.ObjectRef {
	return link.ObjectRef{Kind: kind, ID: string(of) + "/" + strings.Join(key, "/")}
}

// The types of the events that this package writes.
const (
	eventCreated      = "CREATED"
	eventChanged      = "CHANGED"
	eventDeleted      = "DELETED"
	eventConnected    = "CONNECTED"    // somebody asked for the connection
	eventDisconnected = "DISCONNECTED" // somebody asked for its end
	eventApproved     = "APPROVED"
	eventRejected     = "REJECTED"
	eventClaimed      = "CLAIMED"       // somebody who knows a claim's code spoke through the endpoint
	eventClaimRefused = "CLAIM_REFUSED" // somebody did whose claim was over
)

func clusterRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectCluster, ID: string(id)}
}

func trafficRef(id link.ID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectTraffic, ID: string(id)}
}

func connectionRef(cluster link.ID, endpoint link.EndpointID) link.ObjectRef {
	return link.ObjectRef{Kind: link.ObjectConnection, ID: string(cluster) + "/" + string(endpoint)}
}

func regionKey(p link.Provider, name string) string { return string(p) + "/" + name }

// absent is the answer when what an object belongs to is not there, or is not the caller's to see: one and the same.
func absent(of link.ObjectRef) error {
	owner, rest, _ := strings.Cut(of.ID, "/")
	id := link.ID(owner)
	switch of.Kind {
	case link.ObjectWebhook:
		if rest != "" { // whose it is was not asked for, and is not told
			return noWebhook(link.ID(rest))
		}
		return noOrganisation(id)
	case link.ObjectOrganisation, link.ObjectAudit:
		return noOrganisation(id)
	case link.ObjectPrincipal:
		return noPrincipal(link.ID(rest))
	case link.ObjectAPIKey, link.ObjectSession:
		return noPrincipal(id)
	case link.ObjectProject, link.ObjectProjectConnection, link.ObjectProjectTrustedOwner:
		return noProject(id)
	case link.ObjectGrant:
		key, _, _ := strings.Cut(rest, "/")
		return noScope(link.Scope{Kind: link.ScopeKind(owner), ID: link.ID(key)})
	}
	return noCluster(id)
}

// missing turns the absence of a row into the answer that a caller gets.
func missing(err error, reason, what, hint string) error {
	if errors.Is(err, store.ErrNotFound) {
		return &link.Error{Kind: link.NotFound, Reason: reason, Message: "there is no " + what, Hint: hint}
	}
	return err
}

func invalid(field, reason, message, hint string) error {
	return &link.Error{Kind: link.Invalid, Field: field, Reason: reason, Message: message, Hint: hint}
}
