# A stand-in for the official Rust image where no registry can be reached: this machine's own toolchain (the build's
# context is what `rustc --print sysroot` names) with Debian's C compiler. Only for `make compose-test`.
FROM sentinel-stand-in:debian
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/rust/bin
COPY lib /usr/local/rust/lib
ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
