package verify

// Judge makes a report of what was seen and what the vendor knows. It is pure: the same facts give the same report.
func Judge(t Target, o Observations, vendor Vendor) Report { panic("not yet") }
