"""The fields of KubeRay's RayJob (ray.io/v1, as published for KubeRay 1.6), as far as our file uses what is below them.

A JSON schema: the fields on the way to ours are all named, so that a misspelt one is refused; pods are cut down to what
a launch file needs.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
TEXT_TO_TEXT: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {}


def fields(required: str = "", **known: Schema) -> Schema:
    """An object with these fields and no other."""
    return {"type": "object", "properties": known, "required": required.split(), "additionalProperties": False}


def many(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


CONTAINER = fields(
    "name image",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    command=TEXTS,
    args=TEXTS,
    env=many(fields("name", name=TEXT, value=TEXT, valueFrom=ANY)),
    ports=many(fields("containerPort", containerPort=COUNT, name=TEXT, protocol=TEXT)),
    resources=fields(limits=TEXT_TO_TEXT, requests=TEXT_TO_TEXT),
    securityContext=fields(runAsUser=COUNT, runAsGroup=COUNT, runAsNonRoot=FLAG, privileged=FLAG, capabilities=ANY),
    volumeMounts=many(fields("name mountPath", name=TEXT, mountPath=TEXT, readOnly=FLAG, subPath=TEXT)),
    workingDir=TEXT,
)

VOLUME = fields(
    "name",
    name=TEXT,
    persistentVolumeClaim=fields("claimName", claimName=TEXT, readOnly=FLAG),
    hostPath=fields("path", path=TEXT, type=one_of("", "Directory", "DirectoryOrCreate")),
    emptyDir=fields(medium=one_of("", "Memory"), sizeLimit=TEXT),
    secret=ANY,
    configMap=ANY,
)

POD = fields(
    "spec",
    metadata=fields(labels=TEXT_TO_TEXT, annotations=TEXT_TO_TEXT),
    spec=fields(
        "containers",
        containers=many(CONTAINER),
        initContainers=many(CONTAINER),
        volumes=many(VOLUME),
        nodeSelector=TEXT_TO_TEXT,
        tolerations=ANY,
        affinity=ANY,
        imagePullSecrets=ANY,
        serviceAccountName=TEXT,
        hostNetwork=FLAG,
        securityContext=fields(fsGroup=COUNT, runAsUser=COUNT, runAsGroup=COUNT, runAsNonRoot=FLAG),
        terminationGracePeriodSeconds=COUNT,
    ),
)

HEAD_GROUP = fields(
    "template",
    enableIngress=FLAG,
    headService=ANY,
    ingressOptions=ANY,
    labels=TEXT_TO_TEXT,
    rayStartParams=TEXT_TO_TEXT,
    resources=TEXT_TO_TEXT,
    serviceType=TEXT,
    template=POD,
)

WORKER_GROUP = fields(
    "groupName template minReplicas maxReplicas",
    groupName=TEXT,
    idleTimeoutSeconds=COUNT,
    labels=TEXT_TO_TEXT,
    maxReplicas=COUNT,
    minReplicas=COUNT,
    numOfHosts=COUNT,
    priority=COUNT,
    rayStartParams=TEXT_TO_TEXT,
    replicas=COUNT,
    resources=TEXT_TO_TEXT,
    scaleStrategy=ANY,
    suspend=FLAG,
    template=POD,
)

CLUSTER = fields(
    "headGroupSpec",
    authOptions=fields(mode=one_of("disabled", "token"), secretName=TEXT, enableK8sTokenAuth=FLAG),
    autoscalerOptions=ANY,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANY,
    headGroupSpec=HEAD_GROUP,
    headServiceAnnotations=TEXT_TO_TEXT,
    managedBy=TEXT,
    rayVersion=TEXT,
    suspend=FLAG,
    upgradeStrategy=ANY,
    workerGroupSpecs=many(WORKER_GROUP),
)

RAY_JOB = fields(
    "apiVersion kind metadata spec",
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayJob"),
    metadata=fields("name", name=TEXT, namespace=TEXT, labels=TEXT_TO_TEXT, annotations=TEXT_TO_TEXT),
    spec=fields(
        "entrypoint rayClusterSpec",
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        clusterSelector=TEXT_TO_TEXT,
        deletionStrategy=ANY,
        entrypoint=TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=TEXT,
        jobId=TEXT,
        managedBy=TEXT,
        metadata=TEXT_TO_TEXT,
        preRunningDeadlineSeconds=COUNT,
        rayClusterSpec=CLUSTER,
        runtimeEnvYAML=TEXT,
        shutdownAfterJobFinishes=FLAG,
        submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
        submitterConfig=fields(backoffLimit=COUNT),
        submitterPodTemplate=POD,
        suspend=FLAG,
        ttlSecondsAfterFinished=COUNT,
    ),
)
