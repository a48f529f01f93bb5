# Make the database at the first start, then become PostgreSQL.
set -eu
data=/var/lib/postgresql/data
if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$data.new"
    initdb --pgdata="$data.new" --username=guestbook --pwfile=/secrets/database-password \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    echo 'host all all all scram-sha-256' >> "$data.new/pg_hba.conf"
    # --single has no clients: the database is there before anybody can connect.
    echo 'CREATE DATABASE guestbook' | postgres --single -D "$data.new" postgres
    sync
    mv "$data.new" "$data"
fi
exec postgres -D "$data" -c "port=$1" -c listen_addresses='*' -c unix_socket_directories=/run
