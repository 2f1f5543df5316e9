# The least there is to say: who asks, and whom.
contact = "crawling@example.com"

sources = {
  wikipedia = { rate = 1 }
}
