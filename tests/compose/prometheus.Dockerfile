# A stand-in for the official Prometheus image where no registry can be reached: Debian's package with the same user and
# data directory. Only for `make compose-test`.
FROM sentinel-stand-in:debian
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* && mkdir /prometheus && chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
