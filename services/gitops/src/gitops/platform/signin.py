"""Sign-in of people to the parts of the platform, through an OpenID Connect provider."""

from typing import Annotated

from msgspec import Meta, Struct


class Client(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider's client for Argo CD."""

    url: Annotated[str, Meta(description="Its address in a browser.")]
    client: Annotated[str, Meta(min_length=1, description="Its client id: a public client with PKCE.")]


class GrafanaClient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The provider's client for Grafana, which does not read the discovery document."""

    url: Annotated[str, Meta(description="Its address in a browser.")]
    client: Annotated[str, Meta(min_length=1, description="Its client id.")]
    auth_url: Annotated[str, Meta(description="The provider's authorization_endpoint.")]
    token_url: Annotated[str, Meta(description="Its token_endpoint.")]
    api_url: Annotated[str, Meta(description="Its userinfo_endpoint.")]


class MlflowClient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider's client for MLflow's server for people. Machines use another server, with their own passwords."""

    url: Annotated[str, Meta(description="Its address for browsers: a separate host, without a path.")]
    client: Annotated[str, Meta(min_length=1, description="Its client id.")]
    secret: Annotated[
        str,
        Meta(description="Secret of ml-pipeline with the key client-secret; empty for a public client with PKCE."),
    ] = ""


class Oidc(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The provider, and the rights of its groups; a person in none of them cannot sign in."""

    issuer: Annotated[str, Meta(description="Address of the provider, as its discovery document says it.")]
    groups_claim: Annotated[str, Meta(min_length=1, description="Scope and claim with a person's groups.")] = "groups"
    admins: Annotated[list[str], Meta(description="Groups that may do everything.")] = []
    viewers: Annotated[list[str], Meta(description="Groups that may look but not change anything.")] = []
    owners: Annotated[
        dict[str, list[str]],
        Meta(description="Groups by owner of services: they look at everything, and sync and roll back their own."),
    ] = {}
    argocd: Client | None = None
    grafana: GrafanaClient | None = None
    mlflow: MlflowClient | None = None
