package link

// PublicName is the name by which a cluster is reached at the public listener: acme.us-east-1.vendor.example.
func PublicName(cluster, region, domain string) string { return cluster + "." + region + "." + domain }

// PrivateName is the name by which a cluster is reached through a private endpoint: acme.us-east-1.pe.vendor.example.
func PrivateName(cluster, region, domain string) string {
	return cluster + "." + region + privateLabel + domain
}

// PrivateWildcard covers the private names of all clusters of a region, and the names below them. It is the private DNS
// name of the region's service.
func PrivateWildcard(region, domain string) string { return "*." + region + privateLabel + domain }

// PrivateDomain is the domain of the private names of a region's clusters: us-east-1.pe.vendor.example.
func PrivateDomain(region, domain string) string { return region + privateLabel + domain }

const privateLabel = ".pe."
