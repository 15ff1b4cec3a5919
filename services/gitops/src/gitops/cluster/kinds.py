"""The kinds of objects that Argo CD applications make here, as kubectl names them."""

ARGOCD_KINDS = ("applicationsets.argoproj.io", "applications.argoproj.io", "appprojects.argoproj.io")
APPLICATION_SETS, APPLICATIONS, PROJECTS = ARGOCD_KINDS
# Volumes' claims and Secrets are not among these: the passwords open the data.
WORKLOADS = (
    "cronjobs.batch",
    "jobs.batch",
    "horizontalpodautoscalers.autoscaling",
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
    "networkpolicies.networking.k8s.io",
    "poddisruptionbudgets.policy",
    "services",
    "configmaps",
    "serviceaccounts",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
)
# Of which application an object is: `APPLICATION:GROUP/KIND:NAMESPACE/NAME`.
TRACKING = "argocd.argoproj.io/tracking-id"
# Of which Helm release an object is.
INSTANCE = "app.kubernetes.io/instance"
HOOK_FINALIZER = "argocd.argoproj.io/hook-finalizer"
