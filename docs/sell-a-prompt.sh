BASE=http://127.0.0.1:8000
OPS_TOKEN=$(cat .data/ops.token)

send() { curl -sS --fail-with-body -X "$1" "$BASE$2" -H "Authorization: Bearer $KEY" \
    -H 'Content-Type: application/json' "${@:3}"; }
# member PATH: one member of the JSON that comes in
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."): value = value[name]
print(value)' "$1"; }

# 1. The operator lets a creator in. The API key is shown this once.
KEY=$OPS_TOKEN
KEY=$(send POST /api/creators -d '{
    "handle": "ada",
    "payoutAddresses": {"eip155:84532": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}}' | member apiKey)

# 2. From here on it is the creator who asks. First the key that the resources run on.
send PUT /api/creator/keys/openrouter -d '{"key": "sk-or-v1-any-key-is-good-at-the-stand-in"}' \
    | python3 -m json.tool

# 3. Which models there are, and what they cost.
curl -sS "$BASE/api/models" | python3 -c 'import json, sys
for model in json.load(sys.stdin)["models"]:
    print(model["id"], model["inputUsdPerMillionTokens"], model["outputUsdPerMillionTokens"])'

# 4. Publish.
send POST /api/creator/resources -d '{
    "slug": "haiku", "type": "openrouter_instant", "name": "A haiku",
    "description": "Seventeen syllables on whatever you like.", "priceUsd": 0.012,
    "model": "openai/gpt-6-mini", "maxTokens": 200,
    "systemPrompt": "Write a haiku on {subject}{/subject}. Answer with nothing else.",
    "parameters": [{"name": "subject", "description": "What it is about.", "required": true}]}' \
    | python3 -m json.tool

# 5. Try it: your own test costs no payment, and counts as none.
send POST /api/instant/ada/haiku -H 'X-Owner-Test: true' -d '{"subject": "honest work"}' \
    | python3 -m json.tool

# 6. What everybody sees who does not pay: 402, and what to pay.
curl -sS -o /dev/null -w '%{http_code}\n' "$BASE/api/instant/ada/haiku"
curl -sS "$BASE/api/instant/ada/haiku" | python3 -m json.tool
