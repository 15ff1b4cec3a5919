{{/* Egress rules of a NetworkPolicy for every pod: DNS and `networkPolicy.extraEgress`. DNS is by default the cluster's own,
     which both k3s and kubeadm label k8s-app=kube-dns. */}}
{{- define "pipeline.egress" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $dns := include "pipeline.kubeDns" . | fromYamlArray -}}
{{- concat (default $dns $policy.dns) $policy.extraEgress | toYaml -}}
{{- end -}}

{{- define "pipeline.kubeDns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end -}}

{{/* Hosts of an Ingress, as a JSON list of {host, paths, tlsSecret}. An entry in the values may be a host name alone. */}}
{{- define "pipeline.ingressHosts" -}}
{{- $hosts := list -}}
{{- range .Values.ingress.hosts -}}
{{- $host := . -}}
{{- if kindIs "string" . -}}
{{- $host = dict "host" . -}}
{{- end -}}
{{- $paths := $host.paths | default (list (dict "path" "/")) -}}
{{- $hosts = append $hosts (dict "host" $host.host "paths" $paths "tlsSecret" (default "" $host.tlsSecret)) -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* Certificates of an Ingress, as a JSON list of {secretName, hosts}. `ingress.tlsSecret` is for all hosts without their
     own. */}}
{{- define "pipeline.ingressTls" -}}
{{- $common := list -}}
{{- $tls := list -}}
{{- range include "pipeline.ingressHosts" . | fromJsonArray -}}
{{- if .tlsSecret -}}
{{- $tls = append $tls (dict "secretName" .tlsSecret "hosts" (list .host)) -}}
{{- else -}}
{{- $common = append $common .host -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.tlsSecret $common -}}
{{- $tls = prepend $tls (dict "secretName" .Values.ingress.tlsSecret "hosts" $common) -}}
{{- end -}}
{{- toJson $tls -}}
{{- end -}}

{{/* An Ingress to the port `http` of the Service with the same name. Takes (list $ NAME). */}}
{{- define "pipeline.ingress" -}}
{{- $root := index . 0 -}}
{{- $ingress := $root.Values.ingress -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ index . 1 }}
  labels:
    {{- include "pipeline.labels" (list $root "server") | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with include "pipeline.ingressTls" $root | fromJsonArray }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range include "pipeline.ingressHosts" $root | fromJsonArray }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ .path | quote }}
            pathType: {{ default "Prefix" .pathType }}
            backend:
              service:
                name: {{ index $ 1 }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}

{{/* A Service's type and the fields that depend on it. */}}
{{- define "pipeline.serviceType" -}}
type: {{ .Values.service.type }}
{{- with .Values.service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Peers of a NetworkPolicy that let in callers from outside the cluster. A node may replace the caller's address by its
     own, so only the load balancer can tell callers apart. */}}
{{- define "pipeline.outsidePeers" -}}
{{- if ne .Values.service.type "ClusterIP" -}}
- ipBlock:
    cidr: 0.0.0.0/0
- ipBlock:
    cidr: ::/0
{{- end -}}
{{- end -}}
