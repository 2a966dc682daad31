BASE=http://127.0.0.1:8000
STAND_IN=http://127.0.0.1:8001

post() { curl -sS -X POST -H 'Content-Type: application/json' "$@"; }
show() { curl -sS "$BASE$job"; }
# member PATH: one member of the JSON that comes in
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."): value = value[name]
print(value)' "$1"; }
# wait_for MEMBER VALUE: look at the job once a second, for a minute
wait_for() { for _ in $(seq 60); do [ "$(show | member "$1")" = "$2" ] && return; sleep 1; done; return 1; }

# 1. Ask. The answer holds an invoice for the evaluation fee.
created=$(post "$BASE/api/jobs" -d '{"request": "Write a haiku about honest work."}')
job=$(echo "$created" | member links.self)
echo "$created" | python3 -m json.tool

# 2. Pay it from the wallet of the stand-in, and wait for the verdict and the price.
post "$BASE/api/dev/stub/pay/$(echo "$created" | member evalInvoice.paymentHash)"
wait_for state awaiting_work_payment
show | python3 -m json.tool

# 3. Pay for the work, and wait for the result and its ledger.
post "$BASE/api/dev/stub/pay/$(show | member workInvoice.paymentHash)"
wait_for state complete
show | python3 -m json.tool

# 4. Claim the unused part back, with an invoice for exactly that amount from the same wallet.
sats=$(show | member refundAmountSats)
invoice=$(post "$STAND_IN/api/v1/payments" -H 'X-Api-Key: stand-in-payer-invoice-key' \
    -d "{\"out\": false, \"amount\": $sats, \"memo\": \"refund\"}" | member bolt11)
post "$BASE$job/refund" -d "{\"invoice\": \"$invoice\"}"
wait_for refundState paid
show | member refundState
