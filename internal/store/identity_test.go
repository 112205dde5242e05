package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
	"github.com/postern/postern/internal/storetest"
)

// tenancy is two customers with a project and a cluster each, and the vendor with its own.
type tenancy struct {
	organisation, project, cluster map[string]link.ID
}

func fillTenancy(t *testing.T, st *store.Store) tenancy {
	t.Helper()
	w := tenancy{map[string]link.ID{"": ""}, map[string]link.ID{}, map[string]link.ID{}}
	write(t, st, func(tx *store.Tx) error {
		for _, name := range []string{"acme", "globex"} {
			o, made, err := tx.AddOrganisation(name)
			if err != nil || !made {
				return errors.Join(err, fmt.Errorf("organisation %s: made %t", name, made))
			}
			w.organisation[name] = o.ID
		}
		for _, of := range []string{"acme", "globex", ""} {
			// Projects of one name in each: they are the organisations' own.
			p, made, err := tx.AddProject(w.organisation[of], "payments")
			if err != nil || !made {
				return errors.Join(err, fmt.Errorf("project of %q: made %t", of, made))
			}
			c, err := tx.AddCluster(link.Cluster{ID: link.NewID(), ProjectID: p.ID, Name: "c" + of, Provider: link.AWS, PublicAccess: link.PublicEnabled})
			if err != nil {
				return err
			}
			w.project[of], w.cluster[of] = p.ID, c.ID
		}
		return nil
	})
	return w
}

func TestListsWithinReach(t *testing.T) { storetest.OnEach(t, testListsWithinReach) }

func testListsWithinReach(t *testing.T, d storetest.Database) {
	st := open(t, d)
	w := fillTenancy(t, st)
	some := func(ids ...link.ID) []link.ID { return ids }
	for _, c := range []struct {
		name                              string
		reach                             link.Reach
		organisations, projects, clusters []link.ID
	}{
		{"nothing", link.Reach{}, nil, nil, nil},
		{
			"everything", link.Reach{All: true}, some(w.organisation["acme"], w.organisation["globex"]),
			some(w.project["acme"], w.project["globex"], w.project[""]), some(w.cluster["acme"], w.cluster["globex"], w.cluster[""]),
		},
		{
			"an organisation", link.Reach{Organisations: some(w.organisation["globex"])},
			some(w.organisation["globex"]), some(w.project["globex"]), some(w.cluster["globex"]),
		},
		{"a project", link.Reach{Projects: some(w.project["acme"])}, nil, some(w.project["acme"]), some(w.cluster["acme"])},
		{"a cluster", link.Reach{Clusters: some(w.cluster["acme"])}, nil, nil, some(w.cluster["acme"])},
		{
			"some of each", link.Reach{Organisations: some(w.organisation["acme"]), Projects: some(w.project[""]), Clusters: some(w.cluster["globex"], "none")},
			some(w.organisation["acme"]), some(w.project["acme"], w.project[""]), some(w.cluster["acme"], w.cluster["globex"], w.cluster[""]),
		},
	} {
		read(t, st, func(tx *store.Tx) error {
			var organisations, projects, clusters []link.ID
			err := errors.Join(
				everyPart(func(cut store.Cut) (int64, error) {
					part, next, err := tx.Organisations(c.reach, cut)
					for _, o := range part {
						organisations = append(organisations, o.ID)
					}
					return next, err
				}),
				everyPart(func(cut store.Cut) (int64, error) {
					part, next, err := tx.Projects(c.reach, cut)
					for _, p := range part {
						projects = append(projects, p.ID)
					}
					return next, err
				}),
				everyPart(func(cut store.Cut) (int64, error) {
					part, next, err := tx.ClustersWithin(c.reach, cut)
					for _, cl := range part {
						clusters = append(clusters, cl.ID)
					}
					return next, err
				}),
			)
			got, want := [][]link.ID{organisations, projects, clusters}, [][]link.ID{c.organisations, c.projects, c.clusters}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			return err
		})
	}
}

// everyPart reads a list in parts of one.
func everyPart(read func(store.Cut) (next int64, err error)) error {
	cut := store.Cut{Limit: 1}
	for {
		next, err := read(cut)
		if err != nil || next == 0 {
			return err
		}
		cut.After = next
	}
}

func TestPlaces(t *testing.T) { storetest.OnEach(t, testPlaces) }

func testPlaces(t *testing.T, d storetest.Database) {
	st := open(t, d)
	w := fillTenancy(t, st)
	acme := link.Place{OrganisationID: w.organisation["acme"]}
	project := link.Place{OrganisationID: w.organisation["acme"], ProjectID: w.project["acme"]}
	cluster := link.Place{OrganisationID: w.organisation["acme"], ProjectID: w.project["acme"], ClusterID: w.cluster["acme"]}
	var robot link.Principal
	write(t, st, func(tx *store.Tx) (err error) {
		robot, _, err = tx.AddPrincipal(link.Principal{Kind: link.ServiceAccount, OrganisationID: acme.OrganisationID, Name: "robot"})
		return err
	})
	for _, c := range []struct {
		kind, id string
		want     link.Place
		err      error
	}{
		{link.ObjectCluster, string(cluster.ClusterID), cluster, nil},
		{link.ObjectConnection, string(cluster.ClusterID) + "/vpce-0a1b2c3d", cluster, nil},
		{link.ObjectConnection, string(cluster.ClusterID) + "/", cluster, nil},
		{link.ObjectCluster, "none", link.Place{}, store.ErrNotFound},
		{link.ObjectCluster, "", link.Place{}, nil},
		{link.ObjectProject, string(project.ProjectID), project, nil},
		{link.ObjectProjectConnection, string(project.ProjectID) + "/vpce-0a1b2c3d", project, nil},
		{link.ObjectProject, string(w.project[""]), link.Place{ProjectID: w.project[""]}, nil},
		{link.ObjectProject, "none", link.Place{}, store.ErrNotFound},
		{link.ObjectOrganisation, string(acme.OrganisationID), acme, nil},
		{link.ObjectOrganisation, "none", link.Place{}, store.ErrNotFound},
		{link.ObjectAudit, "", link.Place{}, nil},
		{link.ObjectPrincipal, string(acme.OrganisationID) + "/" + string(robot.ID), acme, nil},
		{link.ObjectPrincipal, "/somebody", link.Place{}, nil},
		{link.ObjectAPIKey, string(robot.ID) + "/key", acme, nil},
		{link.ObjectAPIKey, "none/key", link.Place{}, store.ErrNotFound},
		{link.ObjectGrant, "CLUSTER/" + string(cluster.ClusterID) + "/p/VIEWER", cluster, nil},
		{link.ObjectGrant, "PROJECT/" + string(project.ProjectID) + "/", project, nil},
		{link.ObjectGrant, "INSTALLATION//p/OPERATOR", link.Place{}, nil},
		{link.ObjectGrant, "MOON/1", link.Place{}, store.ErrNotFound},
		{link.ObjectService, "AWS/us-east-1", link.Place{}, nil},
	} {
		read(t, st, func(tx *store.Tx) error {
			got, err := tx.PlaceOf(link.ObjectRef{Kind: c.kind, ID: c.id})
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("PlaceOf(%s %s) = %+v, %v; want %+v, %v", c.kind, c.id, got, err, c.want, c.err)
			}
			return nil
		})
	}
}

func TestPrincipalsAreKnownOnce(t *testing.T) { storetest.OnEach(t, testPrincipalsAreKnownOnce) }

func testPrincipalsAreKnownOnce(t *testing.T, d storetest.Database) {
	st := open(t, d)
	w := fillTenancy(t, st)
	write(t, st, func(tx *store.Tx) error {
		ann, made, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: "Ann", Email: "ann@acme.example"})
		if err != nil || !made || ann.ID == "" || ann.Version != 1 {
			t.Fatalf("AddPrincipal = %+v, %t, %v", ann, made, err)
		}
		again, made, err := tx.AddPrincipal(link.Principal{Kind: link.Person, Name: "Another", Email: "ann@acme.example"})
		if err != nil || made || again != ann {
			t.Errorf("the same address again: %+v, %t, %v; want Ann as she was", again, made, err)
		}
		for _, of := range []string{"acme", "globex", ""} {
			robot := link.Principal{Kind: link.ServiceAccount, OrganisationID: w.organisation[of], Name: "deploy"}
			for _, fresh := range []bool{true, false} {
				got, made, err := tx.AddPrincipal(robot)
				if err != nil || made != fresh || got.OrganisationID != robot.OrganisationID {
					t.Errorf("service account of %q: %+v, made %t, %v; want made %t", of, got, made, err, fresh)
				}
			}
		}
		if _, _, err := tx.AddPrincipal(link.Principal{Kind: link.ServiceAccount, OrganisationID: "none", Name: "x"}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a service account of no organisation: %v, want ErrNotFound", err)
		}
		ann.Disabled = true
		changed, err := tx.UpdatePrincipal(ann)
		if err != nil || !changed.Disabled || changed.Version != 2 {
			t.Errorf("UpdatePrincipal = %+v, %v", changed, err)
		}
		if _, err := tx.UpdatePrincipal(ann); !errors.Is(err, store.ErrChanged) {
			t.Errorf("an update of an older version = %v, want ErrChanged", err)
		}
		robots, _, err := tx.ServiceAccounts(link.Reach{Organisations: []link.ID{w.organisation["acme"]}}, store.Cut{Limit: 10})
		if err != nil || len(robots) != 1 || robots[0].OrganisationID != w.organisation["acme"] {
			t.Errorf("service accounts of acme: %+v, %v", robots, err)
		}
		return nil
	})
}

func TestGrantsGoWithWhatTheyAreAbout(t *testing.T) {
	storetest.OnEach(t, testGrantsGoWithWhatTheyAreAbout)
}

func testGrantsGoWithWhatTheyAreAbout(t *testing.T, d storetest.Database) {
	st := open(t, d)
	w := fillTenancy(t, st)
	var ann link.Principal
	scopes := []link.Scope{
		{Kind: link.ScopeInstallation},
		{Kind: link.ScopeOrganisation, ID: w.organisation["acme"]},
		{Kind: link.ScopeProject, ID: w.project["acme"]},
		{Kind: link.ScopeCluster, ID: w.cluster["acme"]},
		{Kind: link.ScopeCluster, ID: w.cluster["globex"]},
	}
	write(t, st, func(tx *store.Tx) (err error) {
		ann, _, err = tx.AddPrincipal(link.Principal{Kind: link.Person, Name: "Ann", Email: "ann@acme.example"})
		for _, s := range scopes {
			for _, fresh := range []bool{true, false} {
				_, made, err2 := tx.AddGrant(link.Grant{PrincipalID: ann.ID, Role: link.RoleViewer, Scope: s})
				err = errors.Join(err, err2)
				if made != fresh {
					t.Errorf("AddGrant at %v: made %t, want %t", s, made, fresh)
				}
			}
		}
		if _, _, err := tx.AddGrant(link.Grant{PrincipalID: ann.ID, Role: link.RoleViewer, Scope: link.Scope{Kind: link.ScopeCluster, ID: "none"}}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a grant at no cluster: %v, want ErrNotFound", err)
		}
		return err
	})
	held := func(want ...link.Scope) {
		t.Helper()
		read(t, st, func(tx *store.Tx) error {
			grants, err := tx.GrantsOf(ann.ID)
			var got []link.Scope
			for _, g := range grants {
				got = append(got, g.Scope)
				if at, err := tx.PlaceOfScope(g.Scope); err != nil || at != g.Within {
					t.Errorf("grant at %v is within %+v, want %+v (%v)", g.Scope, g.Within, at, err)
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("grants (-want +got):\n%s", diff)
			}
			return err
		})
	}
	held(scopes...)
	read(t, st, func(tx *store.Tx) error {
		for of, want := range map[link.Scope]int{scopes[0]: 1, scopes[1]: 3, scopes[2]: 2, scopes[3]: 1} {
			n := 0
			err := everyPart(func(cut store.Cut) (int64, error) {
				members, next, err := tx.Members(of, cut)
				for _, m := range members {
					n++
					if m.Principal != ann || m.Grant.PrincipalID != ann.ID {
						t.Errorf("member %+v, want Ann", m)
					}
				}
				return next, err
			})
			if err != nil || n != want {
				t.Errorf("members of %v: %d, %v; want %d", of, n, err, want)
			}
		}
		if n, err := tx.Holders(link.RoleViewer, scopes[1], ""); err != nil || n != 1 {
			t.Errorf("holders = %d, %v; want 1", n, err)
		}
		if n, err := tx.Holders(link.RoleViewer, scopes[1], ann.ID); err != nil || n != 0 {
			t.Errorf("holders beside Ann = %d, %v; want none", n, err)
		}
		return nil
	})
	write(t, st, func(tx *store.Tx) error { return tx.RemoveCluster(w.cluster["acme"]) })
	held(scopes[0], scopes[1], scopes[2], scopes[4])
	write(t, st, func(tx *store.Tx) error { return tx.RemoveProject(w.project["acme"]) })
	held(scopes[0], scopes[1], scopes[4])
	write(t, st, func(tx *store.Tx) error { return tx.RemoveOrganisation(w.organisation["acme"]) })
	held(scopes[0], scopes[4])
	write(t, st, func(tx *store.Tx) error { return tx.RemoveGrant(ann.ID, link.RoleViewer, scopes[0]) })
	held(scopes[4])
	write(t, st, func(tx *store.Tx) error { return tx.RemovePrincipal(ann.ID) })
	held()
}

// An installation from before organisations keeps its projects, as the vendor's own, with their clusters.
func TestProjectsFromBeforeOrganisations(t *testing.T) {
	dir := t.TempDir()
	err := store.AsOfMigrationForTest(t.Context(), dir, 4,
		`INSERT INTO projects (seq, id, name, created_at, updated_at) VALUES (7, 'p', 'payments', 1, 2)`,
		`INSERT INTO clusters (id, project_id, name, provider, regions, backends, public_access, created_at, updated_at)
			VALUES ('c', 'p', 'c', 'AWS', '[]', '[]', 'ENABLED', 1, 2)`)
	if err != nil {
		t.Fatal(err)
	}
	st := open(t, storetest.Database{Dir: dir})
	read(t, st, func(tx *store.Tx) error {
		p, err := tx.Project("p")
		if err != nil || p.Name != "payments" || p.OrganisationID != "" || p.Version != 1 {
			t.Errorf("the project: %+v, %v", p, err)
		}
		c, err := tx.Cluster("c")
		if err != nil || c.ProjectID != "p" {
			t.Errorf("its cluster: %+v, %v", c, err)
		}
		return nil
	})
	if err := st.Write(t.Context(), func(tx *store.Tx) error { return tx.RemoveProject("p") }); err == nil {
		t.Error("a project went, and left a cluster behind")
	}
}
