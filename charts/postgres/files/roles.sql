-- The roles of this server. Run by initdb's first start and by a restore, so it must be safe to repeat.
-- Names and passwords are read from the Secret, mounted at $CREDENTIALS_DIR: they never stand on a command line.
\set owner `cat "$CREDENTIALS_DIR/mlflow-username"`
\set password `cat "$CREDENTIALS_DIR/mlflow-password"`

SELECT format('CREATE ROLE %I', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
ALTER ROLE :"owner" WITH LOGIN PASSWORD :'password';

-- Has no password, so it gets in through the pod's own socket only: the metrics exporter beside the server.
SELECT 'CREATE ROLE metrics LOGIN IN ROLE pg_monitor'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'metrics') \gexec
