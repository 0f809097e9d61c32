"""The token service's tables in PostgreSQL, in a schema of their own, and the steps that brought them to what they are.

Column by column what `schema.py` makes in SQLite: the statements are the same for both.
"""

#: The schema in the database; another program's tables may lie beside it.
SCHEMA = "ragrid_tokens"

#: Step n brings the tables from format n to n + 1; an empty database takes all of them. A released step never changes.
STEPS = (
    """
CREATE TABLE clients (
  client_id text PRIMARY KEY, tenant text NOT NULL, roles text NOT NULL, secret_hash bytea NOT NULL,
  declared integer NOT NULL, created_s double precision NOT NULL, redirect_uris text NOT NULL DEFAULT '[]',
  public integer NOT NULL DEFAULT 0, jwks text NOT NULL DEFAULT ''
);
CREATE TABLE users (
  name text PRIMARY KEY, tenant text NOT NULL, roles text NOT NULL, password_hash text NOT NULL,
  disabled integer NOT NULL, created_s double precision NOT NULL
);
CREATE TABLE revocations (token_id text PRIMARY KEY, expires_s double precision NOT NULL);
CREATE TABLE watermarks (
  kind text NOT NULL, name text NOT NULL, not_before_s double precision NOT NULL, PRIMARY KEY (kind, name)
);
CREATE TABLE signing_keys (
  kid text PRIMARY KEY, state text NOT NULL, created_s double precision NOT NULL, activated_s double precision,
  retired_s double precision, public_jwk text NOT NULL, private_jwk text
);
CREATE UNIQUE INDEX signing_keys_one ON signing_keys (state) WHERE state IN ('next', 'current');
CREATE TABLE sign_ins (
  sign_in_id text PRIMARY KEY, client_id text NOT NULL, subject text NOT NULL, scope text NOT NULL,
  audience text NOT NULL, expires_s double precision NOT NULL
);
CREATE INDEX sign_ins_subject ON sign_ins (subject);
CREATE INDEX sign_ins_client ON sign_ins (client_id);
CREATE TABLE codes (
  hash bytea PRIMARY KEY, sign_in_id text NOT NULL, redirect_uri text NOT NULL, challenge text NOT NULL,
  expires_s double precision NOT NULL, used integer NOT NULL
);
CREATE INDEX codes_sign_in ON codes (sign_in_id);
CREATE TABLE refresh_tokens (
  hash bytea PRIMARY KEY, sign_in_id text NOT NULL, expires_s double precision NOT NULL, used integer NOT NULL
);
CREATE INDEX refresh_tokens_sign_in ON refresh_tokens (sign_in_id);
CREATE TABLE devices (
  hash bytea PRIMARY KEY, user_code text NOT NULL UNIQUE, client_id text NOT NULL, scope text, audience text NOT NULL,
  expires_s double precision NOT NULL, state text NOT NULL, subject text
);
CREATE TABLE sign_in_tokens (
  token_id text PRIMARY KEY, sign_in_id text NOT NULL, expires_s double precision NOT NULL
);
CREATE INDEX sign_in_tokens_sign_in ON sign_in_tokens (sign_in_id);
CREATE TABLE assertions (
  client_id text NOT NULL, token_id text NOT NULL, expires_s double precision NOT NULL,
  PRIMARY KEY (client_id, token_id)
);
CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at_s double precision NOT NULL, event text NOT NULL,
  client_id text, token_id text, expires_s double precision, details text NOT NULL, subject text
);
CREATE INDEX audit_time ON audit (at_s);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse();
""",
    """
CREATE TABLE form_keys (name text PRIMARY KEY, key bytea NOT NULL);
""",
    """
CREATE TABLE attempts (
  name_hash bytea PRIMARY KEY, failures integer NOT NULL, failed_s double precision NOT NULL,
  until_s double precision NOT NULL
);
""",
)
VERSION = len(STEPS)
#: Beside the triggers: whoever may do more has to say so first.
REVOKE = "REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM PUBLIC, CURRENT_USER"
