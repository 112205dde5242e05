package fabric

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// stsService is the Security Token Service (API version 2011-06-15), which says who one is.
var stsService = service{
	noSignature:  errMissingToken,
	badSignature: incompleteSignature,
	unknownKey:   errUnknownToken,
	wrong:        errWrongToken,
	expired:      expiredSignature,
	wrongRegion:  wrongScope,
	fault:        errorEnvelope(stsNamespace),
}

var stsQuery = queryService{
	version: "2011-06-15",
	unknown: unknownAction,
	wrap:    resultEnvelope(stsNamespace),
}

var stsActions = map[string]operation{"GetCallerIdentity": reads(getCallerIdentity)}

type callerIdentity struct {
	ARN     string `xml:"Arn"`
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
}

func getCallerIdentity(c *call, _ *none) (*callerIdentity, error) {
	return &callerIdentity{callerARN(c.s.Accounts[c.account]), "AIDA" + c.account, c.account}, nil
}
