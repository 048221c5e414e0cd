# The server's image: one static program and the certificate authorities that it trusts, without any other program
# (docs/adr/0007).
#
#   docker build -t gittix .
#   docker run --rm --read-only --cap-drop ALL -p 3000:3000 gittix
#
# The base image is named by its full version; CI resolves and records its digest (image.yml).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# cargo-auditable writes the list of crates into the program: a scanner cannot learn them from a package manager.
RUN cargo install --locked --root /opt/auditable cargo-auditable@0.7.7

# glibc is linked statically. The target must be named, else the flag would also apply to build scripts and macros.
ENV RUSTFLAGS="-C target-feature=+crt-static"

# The dependencies are in a layer of their own, which is reused until one of them changes. Tests and benchmarks are not
# part of this build, so they are removed from its manifest.
COPY Cargo.toml Cargo.lock ./
COPY crates/domain/Cargo.toml crates/domain/
COPY crates/payments/Cargo.toml crates/payments/
COPY crates/runtime/Cargo.toml crates/runtime/
COPY crates/store/Cargo.toml crates/store/
COPY crates/store-embedded/Cargo.toml crates/store-embedded/
COPY crates/store-mongo/Cargo.toml crates/store-mongo/
RUN awk '/^\[/ { left_out = /^\[\[(bench|test)\]\]/ } !left_out' Cargo.toml > Cargo.toml.built \
    && mv Cargo.toml.built Cargo.toml \
    && mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && for crate in crates/*; do mkdir -p "$crate/src" && touch "$crate/src/lib.rs"; done \
    && cargo build --profile dist --locked --target "$(rustc --print host-tuple)"

COPY build.rs build.rs
COPY build build
COPY crates crates
COPY src src
COPY templates templates
COPY web web
# COPY keeps the modification times, which may be older than those of the empty files that were built above.
RUN touch src/main.rs src/lib.rs crates/*/src/lib.rs \
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

# The user has no name, because there is no /etc/passwd. From the number, Kubernetes can verify that it is not root.
USER 65532:65532
ENV GITTIX_ADDR=0.0.0.0:3000 \
    GITTIX_DATA_DIR=/data \
    GITTIX_LOG_FORMAT=json
EXPOSE 3000
# The embedded store and the sandbox's ledger. With MONGODB_URI the server writes no files.
VOLUME ["/data"]
STOPSIGNAL SIGTERM
# Checks liveness, not readiness: a container must not be replaced because its database is unavailable.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/gittix", "health"]
ENTRYPOINT ["/usr/bin/gittix"]
CMD ["serve"]
