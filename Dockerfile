# Farebox alone in its image: no shell, no package manager, no root. `docker build -t farebox .`
# Tags are pinned; whoever publishes the image pins digests too.
FROM rust:1.95.0-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin farebox && mkdir -p /image/var/lib/farebox

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/farebox /usr/local/bin/farebox
COPY --from=build --chown=65532:65532 /image/var/lib/farebox /var/lib/farebox
ENV FAREBOX_DATA_DIR=/var/lib/farebox FAREBOX_LOG_FORMAT=json
USER 65532:65532
VOLUME /var/lib/farebox
EXPOSE 4000 4001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s --retries=3 CMD ["/usr/local/bin/farebox", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/farebox"]
CMD ["serve"]
