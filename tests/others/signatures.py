"""Signs and verifies webhooks with Stripe's own library: a request of JSON on each line of the input, an answer on each of the
output. {"secret", "body", "at"} is answered by the header, {"secret", "body", "header"} by whether it is good."""

import json
import sys

import stripe

for line in sys.stdin:
    asked = json.loads(line)
    if "at" in asked:
        header = stripe.WebhookSignature.generate_signature_header(asked["body"], asked["secret"], asked["at"])
        print(json.dumps(header), flush=True)
        continue
    try:
        stripe.WebhookSignature.verify_header(asked["body"], asked["header"], asked["secret"], 300)
        print("true", flush=True)
    except stripe.SignatureVerificationError:
        print("false", flush=True)
