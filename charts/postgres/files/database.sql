-- The database $DATABASE: it belongs to the role of the Secret, and nobody else gets in.
\getenv database DATABASE
\set owner `cat "$CREDENTIALS_DIR/mlflow-username"`

CREATE DATABASE :"database" OWNER :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
