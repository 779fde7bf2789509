# A stand-in for the official Postgres image where no registry can be reached: Debian's Postgres behind the same
# variables, paths and first start. Only for `make compose-test`.
FROM sentinel-stand-in:debian
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql gosu \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/15 && mkdir -p /var/lib/postgresql/data && chown postgres /var/lib/postgresql/data \
    && ln -s /usr/lib/postgresql/15/bin/pg_isready /usr/local/bin/
COPY postgres-entrypoint.sh /usr/local/bin/
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entrypoint.sh"]
