# The server's image: one static program, the authorities that it trusts for TLS, and nothing else (docs/adr/0007).
#
#   docker build -t gittix .
#   docker run --rm --read-only --cap-drop ALL -p 3000:3000 gittix
#
# The base image is named by its full version: CI looks up and records the digest that it stands for (image.yml).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# Writes the list of crates into the program, so that a scanner finds in the image what no package manager put there.
RUN cargo install --locked --root /opt/auditable cargo-auditable@0.7.7

# glibc is linked in. That asks for a target by name, else the flag would hold for build scripts and macros too.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# The dependencies, in a layer that lasts until one of them changes. Tests and benchmarks are no part of this build, and so
# not of its manifest either.
COPY Cargo.toml Cargo.lock ./
RUN awk '/^\[/ { left_out = /^\[\[(bench|test)\]\]/ } !left_out' Cargo.toml > Cargo.toml.built \
    && mv Cargo.toml.built Cargo.toml \
    && mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --profile dist --locked --target "$(rustc --print host-tuple)"

COPY build.rs build.rs
COPY build build
COPY src src
COPY web web
# The files keep their times, which may lie before those of the empty ones that were built above.
RUN touch src/main.rs src/lib.rs \
    && PATH="/opt/auditable/bin:$PATH" cargo auditable build --profile dist --locked --target "$(rustc --print host-tuple)" \
    && install -D --strip "target/$(rustc --print host-tuple)/dist/gittix" /image/usr/bin/gittix \
    && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install --directory /empty

FROM scratch
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gittix" \
      org.opencontainers.image.description="A ticket marketplace backend" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

COPY --from=build /image /
COPY --from=build --chown=65532:65532 /empty /data

# No name stands for it: there is no /etc/passwd. By number, Kubernetes can tell that it is not root.
USER 65532:65532
ENV GITTIX_ADDR=0.0.0.0:3000 \
    GITTIX_DATA_DIR=/data \
    GITTIX_LOG_FORMAT=json
EXPOSE 3000
# The embedded store, and the sandbox's ledger. With MONGODB_URI nothing is written anywhere.
VOLUME ["/data"]
STOPSIGNAL SIGTERM
# Alive, not ready: a container must not be replaced because its database is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/gittix", "health"]
ENTRYPOINT ["/usr/bin/gittix"]
CMD ["serve"]
