package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/postern/postern/internal/link"
	"github.com/postern/postern/internal/store"
)

// mostCustomNames is how many names of the customer's own a cluster may have: they stand in the rules of every gateway.
const mostCustomNames = 20

// longestCustomName leaves room for a repository's label in front.
const longestCustomName = 253 - 64

// customNames are names of a customer's own as they are kept: in lower case, without a final dot, sorted, each once. Those
// below domain are the installation's to give.
func customNames(given []string, domain string) (names []string, err error) {
	if len(given) > mostCustomNames {
		return nil, invalid("custom_names", "TOO_MANY", fmt.Sprintf("custom_names lists %d values", len(given)), fmt.Sprintf("give at most %d", mostCustomNames))
	}
	own := strings.ToLower(strings.TrimSuffix(domain, "."))
	var wrong []error
	for i, name := range given {
		field, kept := fmt.Sprintf("custom_names[%d]", i), strings.TrimSuffix(strings.ToLower(name), ".")
		_, _, isClaim := link.CutClaim(kept)
		switch {
		case !isCustomName(kept):
			wrong = append(wrong, invalid(field, "MALFORMED_NAME", "not a host name: "+link.Quote(name), "for example art.acme.example, without a wildcard"))
		case link.Below(kept, own) || link.Below(own, kept):
			wrong = append(wrong, invalid(field, "VENDORS_DOMAIN", kept+" is the vendor's own, or stands above what is", "give a name in a domain of the customer's"))
		case isClaim || strings.HasPrefix(kept, link.ProofLabel+"."):
			wrong = append(wrong, invalid(field, "NAME_RESERVED", kept+" is what a gateway itself answers below "+kept[strings.IndexByte(kept, '.')+1:], "give another name"))
		case isShared(kept):
			wrong = append(wrong, invalid(field, "DOMAIN_TOO_SHORT", "many share the domain "+kept, "give a name below the customer's own domain, such as art.customer."+kept))
		case slices.Contains(names, kept):
			wrong = append(wrong, invalid(field, "DUPLICATE", kept+" is given twice", ""))
		}
		names = append(names, kept)
	}
	slices.Sort(names)
	return names, errors.Join(wrong...)
}

// isCustomName reports whether s is a host name of two labels or more, which a certificate can have.
func isCustomName(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > longestCustomName || len(labels) < 2 || strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return false
	}
	return !slices.ContainsFunc(labels, func(l string) bool { return checkLabel("", l) != nil })
}

// isShared reports whether a domain is one below which names are many owners'.
func isShared(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// setCustomNames makes names those of the customer's own that lead to a cluster. given are the same as they were given. A name
// belongs to one cluster, with everything below it: that is where its repositories and its proof of path have their names.
func (ch *change) setCustomNames(cl link.Cluster, names, given []string) (link.Cluster, error) {
	if slices.Equal(cl.CustomNames, names) {
		return cl, nil
	}
	var wrong []error
	for i, name := range given {
		taken, whose, err := ch.CustomNameNear(cl.ID, strings.TrimSuffix(strings.ToLower(name), "."))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return cl, err
		default:
			wrong = append(wrong, &link.Error{
				Kind: link.Conflict, Reason: "NAME_TAKEN", Field: fmt.Sprintf("custom_names[%d]", i),
				Message: fmt.Sprintf("%s leads to cluster %s, with everything below it", taken, whose), Hint: "take it from that cluster first, or give another name",
			})
		}
	}
	if len(wrong) > 0 {
		return cl, errors.Join(wrong...)
	}
	before := cl.CustomNames
	cl, err := ch.SetCustomNames(cl.ID, names)
	if err != nil {
		return cl, err
	}
	return cl, errors.Join(ch.RulesChanged(store.RulesOfCluster, cl.ID),
		ch.changed(clusterRef(cl.ID), eventChanged, "CUSTOM_NAMES", before, cl.CustomNames, "the customer's own names are now: %s", orNone(strings.Join(names, ", "))))
}
