module github.com/postern/postern/test/sdk

go 1.26.0

require github.com/cockroachdb/cockroach-cloud-sdk-go v1.11.0

require (
	github.com/aws/aws-sdk-go-v2 v1.47.7
	github.com/aws/smithy-go v1.28.8 // indirect
)
