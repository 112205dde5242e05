ZONE_ID=$(aws route53 create-hosted-zone --name acme.us-east-1.pe.postern.test \
  --vpc VPCRegion=us-east-1,VPCId=vpc-0a1b2c3d4e5f60718 \
  --caller-reference postern-reference \
  --hosted-zone-config 'Comment=made by postern,PrivateZone=true' \
  --query HostedZone.Id --output text)
CHANGE_ID=$(aws route53 change-resource-record-sets --hosted-zone-id "$ZONE_ID" \
  --query ChangeInfo.Id --output text --change-batch "$(cat <<BATCH
{
  "Comment": "private endpoint names, made by postern",
  "Changes": [
    {
      "Action": "UPSERT",
      "ResourceRecordSet": {
        "Name": "acme.us-east-1.pe.postern.test.",
        "Type": "A",
        "AliasTarget": {
          "HostedZoneId": "Z7HUB22UULQXV",
          "DNSName": "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com.",
          "EvaluateTargetHealth": false
        }
      }
    },
    {
      "Action": "UPSERT",
      "ResourceRecordSet": {
        "Name": "\\\\052.acme.us-east-1.pe.postern.test.",
        "Type": "A",
        "AliasTarget": {
          "HostedZoneId": "Z7HUB22UULQXV",
          "DNSName": "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com.",
          "EvaluateTargetHealth": false
        }
      }
    }
  ]
}
BATCH
)")
aws route53 wait resource-record-sets-changed --id "$CHANGE_ID"
