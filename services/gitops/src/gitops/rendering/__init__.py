"""The manifests that Argo CD would apply, and how two renderings differ."""
