"""The kinds of objects that Argo CD applications make here, as kubectl names them."""

# Runs the pods of a service with canaries, instead of a Deployment.
ROLLOUTS = "rollouts.argoproj.io"
ARGOCD_KINDS = ("applicationsets.argoproj.io", "applications.argoproj.io", "appprojects.argoproj.io")
APPLICATION_SETS, APPLICATIONS, PROJECTS = ARGOCD_KINDS
# Without volume claims and Secrets: the data stays, and its passwords too.
WORKLOADS = (
    "cronjobs.batch",
    "jobs.batch",
    "horizontalpodautoscalers.autoscaling",
    ROLLOUTS,
    "analysistemplates.argoproj.io",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "prometheuses.monitoring.coreos.com",
    "alertmanagers.monitoring.coreos.com",
    "servicemonitors.monitoring.coreos.com",
    "podmonitors.monitoring.coreos.com",
    "prometheusrules.monitoring.coreos.com",
    "httproutes.gateway.networking.k8s.io",
    "ingresses.networking.k8s.io",
    "ingressroutes.traefik.io",
    "traefikservices.traefik.io",
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "services",
    "configmaps",
    "serviceaccounts",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
)
# Names the application of an object: `APPLICATION:GROUP/KIND:NAMESPACE/NAME`.
TRACKING = "argocd.argoproj.io/tracking-id"
# Names the Helm release of an object.
INSTANCE = "app.kubernetes.io/instance"
HOOK_FINALIZER = "argocd.argoproj.io/hook-finalizer"
