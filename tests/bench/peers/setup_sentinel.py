"""Mints the load's token with the built-in key. Prints, as JSON, what the load is to send. Arguments: sentinelctl, data directory."""
import json
import subprocess
import sys

PROGRAM, STATE = sys.argv[1], sys.argv[2]
done = subprocess.run(
    [PROGRAM, "--data-dir", STATE, "--output", "json", "token", "mint", "--client", "bench", "--role", "bench", "--ttl", "24h"],
    capture_output=True,
    text=True,
)
if done.returncode != 0:
    sys.exit(done.stderr)
print(json.dumps({"token": json.loads(done.stdout)["token"]}))
