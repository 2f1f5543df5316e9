# The pacer's states: one small item a source. They never expire: a closed source stays closed over any pause.

resource "aws_dynamodb_table" "pace" {
  #checkov:skip=CKV_AWS_119:Holds rates and moments, no data of anybody; AWS's own key costs no call and cannot stop the pacer
  name                        = "${var.name}-pace"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "source"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "source"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }
}
