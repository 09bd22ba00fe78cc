# shellcheck shell=sh
# Sourced by the start scripts. Secrets reach a container as files; programs read them from their environment.

# die TEXT: say what is wrong in one line and end.
die() {
    echo "${0##*/}: $1" >&2
    exit 1
}

# read_secrets NAME...: where NAME_FILE names a file, export its content as NAME. A file that is missing or empty ends
# the script: a server that started with an empty password would look as if it was protected.
read_secrets() {
    for name in "$@"; do
        eval "file=\${${name}_FILE:-}"
        [ -n "$file" ] || continue
        [ -s "$file" ] || die "${name}_FILE \"$file\": no such file, or it is empty (make it with infra/scripts/make-secrets)"
        value=$(cat "$file") || die "${name}_FILE \"$file\": cannot be read"
        export "$name=$value"
    done
}

# need NAME...: end unless each variable is set.
need() {
    for name in "$@"; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || die "$name is not set (docs/cluster.md lists the settings)"
    done
}

# need_token: end unless there is a token for Ray, and ask every client for it.
need_token() {
    if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "${RAY_AUTH_TOKEN_PATH:-}" ]; then
        die "no token for Ray: set RAY_AUTH_TOKEN_PATH to a file that holds one (make it with infra/scripts/make-secrets)"
    fi
    # Whatever the environment said: without it, whoever reaches a port of Ray runs code as this user.
    export RAY_AUTH_MODE=token
}

# read_job_secrets: what the jobs on a Ray node need, for they inherit the node's environment.
read_job_secrets() {
    read_secrets PGPASSWORD MLFLOW_TRACKING_PASSWORD
}
