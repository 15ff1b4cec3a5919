-- The database $DATABASE. It belongs to the role of the Secret, and no other role may connect.
\getenv database DATABASE
\set owner `cat "$CREDENTIALS_DIR/mlflow-username"`

CREATE DATABASE :"database" OWNER :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
