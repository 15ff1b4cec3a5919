-- The roles of this server. Run by initdb's first start and by a restore, so it must be safe to repeat.
-- Names and passwords are read from the Secret, mounted at $CREDENTIALS_DIR, so no command line shows them.
\set owner `cat "$CREDENTIALS_DIR/mlflow-username"`
\set password `cat "$CREDENTIALS_DIR/mlflow-password"`

SELECT format('CREATE ROLE %I', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
ALTER ROLE :"owner" WITH LOGIN PASSWORD :'password';

-- The role of the metrics exporter in the server's pod. It has no password, so it can connect only through the pod's socket.
SELECT 'CREATE ROLE metrics LOGIN IN ROLE pg_monitor'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'metrics') \gexec
