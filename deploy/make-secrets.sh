#!/bin/sh
# Makes what deploy/compose.yaml needs and does not come with: five secrets as files in secrets/, .env that names them,
# and an empty backends.env. In deploy/, or in the folder given. What is there already stays.
set -eu
cd "${1:-$(dirname "$0")}"
umask 077
mkdir -p secrets
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
for name in plane_token admin_token ops_token database_password; do
    [ -s "secrets/$name" ] || random >"secrets/$name"
done
[ -s secrets/database_url ] || printf 'postgres://sentinel:%s@postgres:5432/sentinel' "$(cat secrets/database_password)" >secrets/database_url
# The containers' user is not yours: the files may be read, the folder not entered.
chmod 0444 secrets/*
[ -e backends.env ] || echo '# NAME=value, for ${NAME} in config/sentinel.toml' >backends.env
[ -e .env ] || printf 'COMPOSE_PROJECT_NAME=sentinel\nSENTINEL_SECRETS=%s\nSENTINEL_BACKENDS_ENV=%s\n' "$PWD/secrets" "$PWD/backends.env" >.env
echo "$PWD/secrets: $(ls secrets | tr '\n' ' ')"
