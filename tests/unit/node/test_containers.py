"""Order, restarts, hooks, probes and ends of containers."""

from __future__ import annotations

from tests.unit.node.node_world import NAMESPACE, World, container

from pullet.cri.errors import CriError
from pullet.cri.types import ContainerState, ExecSyncResponse
from pullet.kube.scheme import CONFIGMAPS, PODS, SECRETS

RUN = ["sleep", "100000"]


async def test_init_containers_run_one_after_the_other_before_the_others(world: World) -> None:
    """Golden 15."""
    world.images.load("busybox:1.34")
    init = [container(name, "busybox:1.34", command=["sh", "-c", "sleep 1; exit 0"]) for name in ("init1", "init2")]
    async with world.running():
        await world.apply("p", container("c1", "busybox:1.34"), container("c2", "busybox:1.34"), initContainers=init)
        assert world.status("p")["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
        conditions = {each["type"]: each for each in world.status("p")["conditions"]}
        assert conditions["Initialized"]["message"] == "containers with incomplete status: [init1 init2]"
        await world.clock.advance(5)
        started = [event[3] for event in world.events("p") if event[2] == "Created"]
        names = world.runtime.called("create_container")
        assert names == ["init1", "init2", "c1", "c2"]
        assert started == [
            "spec.initContainers{init1}",
            "spec.initContainers{init2}",
            "spec.containers{c1}",
            "spec.containers{c2}",
        ]
        assert world.status("p")["phase"] == "Running"


async def test_a_failing_init_image_keeps_everything_else_from_being_tried(world: World) -> None:
    world.images.load("busybox:1.34")
    async with world.running():
        await world.apply("p", container("c", "nginx:9"), initContainers=[container("i", "busybox:nope")])
        await world.clock.advance(15)
        assert world.waiting("p", "i")[0] in ("ErrImagePull", "ImagePullBackOff")
        assert world.waiting("p", "c") == ("PodInitializing", "")
        assert set(world.images.called("pull_image")) == {"busybox:nope"}


async def test_a_sidecar_starts_first_and_stops_last(world: World) -> None:
    world.images.load("busybox:1.34")
    sidecar = container("side", "busybox:1.34", restartPolicy="Always")
    async with world.running():
        await world.apply("p", container("c", "busybox:1.34"), initContainers=[sidecar])
        await world.clock.advance(1)
        ids = world.runtime.running()
        assert set(ids) == {"side", "c"}
        await world.api.delete(PODS, NAMESPACE, "p")
        await world.clock.advance(3)
        assert world.runtime.called("stop_container")[:2] == [ids["c"], ids["side"]]


async def test_a_finished_pod_succeeds_and_its_end_stays_to_be_seen(world: World) -> None:
    world.images.load("busybox:1.34")
    job = container("c", "busybox:1.34", command=["sh", "-c", "sleep 1; exit 0"])
    async with world.running():
        await world.apply("p", job, restartPolicy="Never")
        await world.clock.advance(70)
        status = world.status("p")
        assert status["phase"] == "Succeeded"
        assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
        assert world.pod("p") is not None
        await world.api.delete(PODS, NAMESPACE, "p")
        await world.clock.advance(3)
        assert world.pod("p") is None


async def test_a_changed_image_restarts_the_container_in_place(world: World) -> None:
    world.images.load("nginx:1.17.1")
    world.images.load("nginx:1.17.2")
    async with world.running():
        await world.apply("p", container())
        await world.clock.advance(1)
        patch = {"spec": {"containers": [container("c", "nginx:1.17.2")]}}
        await world.api.patch(PODS, NAMESPACE, "p", patch)
        await world.clock.advance(3)
        [status] = world.status("p")["containerStatuses"]
        assert status["image"] == "docker.io/library/nginx:1.17.2"
        assert status["restartCount"] == 1
        killing = [event[4] for event in world.events("p") if event[2] == "Killing"]
        assert killing == ["Container c definition changed, will be restarted"]


async def test_the_deadline_ends_a_pod(world: World) -> None:
    world.images.load("nginx:1.17.1")
    async with world.running():
        await world.apply("p", container(), activeDeadlineSeconds=5)
        await world.clock.advance(8)
        assert world.status("p")["phase"] == "Failed"
        assert world.status("p")["reason"] == "DeadlineExceeded"
        assert world.runtime.running() == {}


async def test_create_and_start_failures_have_their_reasons(world: World) -> None:
    world.images.load("nginx:1.17.1")
    world.runtime.fail_always("create_container", CriError("no space left on device"))
    async with world.running():
        await world.apply("p", container())
        assert world.waiting("p") == ("CreateContainerError", "no space left on device")
        world.runtime.fail_always("create_container", None)
        await world.apply("q", container("c", "nginx:1.17.1", command=["/no/such"]))
        failed = [event[4] for event in world.events("q") if event[2] == "Failed"]
        assert failed[0] == 'Error: failed to start container: exec: "/no/such": no such file or directory'


async def test_a_sandbox_that_cannot_be_made_is_said_and_tried_again(world: World) -> None:
    world.images.load("nginx:1.17.1")
    world.runtime.fail_next("run_pod_sandbox", CriError("no addresses left"))
    async with world.running():
        await world.apply("p", container())
        assert world.events("p")[0][1:] == (
            "Warning",
            "FailedCreatePodSandBox",
            "",
            "Failed to create pod sandbox: no addresses left",
        )
        await world.clock.advance(16)
        assert world.status("p")["phase"] == "Running"


async def test_a_sandbox_that_died_is_made_anew(world: World) -> None:
    world.images.load("nginx:1.17.1")
    async with world.running():
        await world.apply("p", container())
        await world.clock.advance(1)
        [sandbox] = await world.runtime.list_pod_sandbox()
        await world.runtime.stop_pod_sandbox(sandbox.id)
        await world.clock.advance(20)
        assert "SandboxChanged" in [event[2] for event in world.events("p")]
        assert list(world.runtime.running()) == ["c"]
        assert world.status("p")["containerStatuses"][0]["restartCount"] == 1


async def test_pre_stop_runs_within_the_grace_period(world: World) -> None:
    world.images.load("nginx:1.17.1")
    hook = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", lifecycle=hook))
        await world.clock.advance(1)
        await world.api.delete(PODS, NAMESPACE, "p")
        await world.clock.advance(4)
        assert list(world.runtime.running()) == ["c"]
        await world.clock.advance(4)
        assert world.pod("p") is None


async def test_a_failing_post_start_hook_kills_the_container(world: World) -> None:
    world.images.load("nginx:1.17.1")
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", lifecycle=hook))
        assert "FailedPostStartHook" in [event[2] for event in world.events("p")]
        assert world.runtime.running() == {}


async def test_readiness_and_liveness(world: World) -> None:
    world.images.load("nginx:1.17.1")
    health = {"live": 0, "ready": 1}
    world.runtime.on_exec = lambda _id, command: ExecSyncResponse(b"sick", b"", health[command[0]])
    probes = {
        "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 2},
        "livenessProbe": {"exec": {"command": ["live"]}, "periodSeconds": 2, "failureThreshold": 2},
    }
    async with world.running():
        await world.apply("p", container("c", "nginx:1.17.1", **probes))
        await world.clock.advance(3)
        assert not world.status("p")["containerStatuses"][0]["ready"]
        assert "Readiness probe failed: sick" in [event[4] for event in world.events("p")]
        health["ready"] = 0
        await world.clock.advance(3)
        assert world.status("p")["containerStatuses"][0]["ready"]
        health["live"] = 1
        await world.clock.advance(4.5)
        killing = [event[4] for event in world.events("p") if event[2] == "Killing"]
        assert killing == ["Container c failed liveness probe, will be restarted"]
        health["live"] = 0
        await world.clock.advance(6)
        assert world.status("p")["containerStatuses"][0]["restartCount"] == 1


async def test_variables_mounts_and_identity_reach_the_runtime(world: World) -> None:
    world.images.load("nginx:1.17.1")
    await world.api.create(CONFIGMAPS, NAMESPACE, {"metadata": {"name": "cm"}, "data": {"COLOUR": "blue", "b": "1"}})
    await world.api.create(SECRETS, NAMESPACE, {"metadata": {"name": "s"}, "data": {"key": "aGVsbG8="}})
    spec = container(
        "c",
        "nginx:1.17.1",
        command=["run", "$(GREETING)", "$$(GREETING)", "$(NOPE)"],
        envFrom=[{"prefix": "CM_", "configMapRef": {"name": "cm"}}],
        env=[
            {"name": "GREETING", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
            {"name": "LONG", "value": "$(GREETING) $(CM_COLOUR)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        ],
        resources={"limits": {"cpu": "250m", "memory": "64Mi"}},
        securityContext={"runAsUser": 1000, "capabilities": {"add": ["NET_ADMIN"]}, "readOnlyRootFilesystem": True},
        volumeMounts=[
            {"name": "work", "mountPath": "/work"},
            {"name": "conf", "mountPath": "/conf"},
            {"name": "token", "mountPath": "/token", "readOnly": True},
        ],
    )
    volumes = [
        {"name": "work", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "cm"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    async with world.running():
        await world.apply("p", spec, volumes=volumes, hostAliases=[{"ip": "10.0.0.9", "hostnames": ["db", "db.local"]}])
        config = world.runtime.config_of(world.runtime.running()["c"])
        env = dict(config.envs)
        assert config.command == ("run", "hello", "$(GREETING)", "$(NOPE)")
        assert env["LONG"] == "hello blue"
        assert env["CM_b"] == "1"
        assert env["IP"] == world.status("p").get("podIP", env["IP"]) != ""
        assert env["CPU"] == "250"
        assert config.resources.cpu_quota == 25_000
        assert config.resources.memory_limit_bytes == 64 << 20
        assert config.security_context.run_as_user == 1000
        assert config.security_context.is_readonly_rootfs
        mounts = {mount.container_path: mount for mount in config.mounts}
        assert (await world.read(mounts["/conf"].host_path + "/COLOUR")) == "blue"
        assert (await world.read(mounts["/token"].host_path + "/token")).startswith("token-")
        assert "10.0.0.9\tdb\tdb.local" in await world.read(mounts["/etc/hosts"].host_path)
        assert "/dev/termination-log" in mounts

        await world.api.patch(CONFIGMAPS, NAMESPACE, "cm", {"data": {"COLOUR": "green"}})
        await world.clock.advance(80)
        assert (await world.read(mounts["/conf"].host_path + "/COLOUR")) == "green"


async def test_missing_configuration_is_said_with_the_kubelets_words(world: World) -> None:
    world.images.load("nginx:1.17.1")
    await world.api.create(CONFIGMAPS, NAMESPACE, {"metadata": {"name": "cm"}, "data": {}})
    reference = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "nokey"}}}
    async with world.running():
        await world.apply("nomap", container("c", "nginx:1.17.1", envFrom=[{"configMapRef": {"name": "nosuch"}}]))
        await world.apply("nokey", container("c", "nginx:1.17.1", env=[reference]))
        await world.apply("root", container("c", "nginx:1.17.1", securityContext={"runAsNonRoot": True}))
        await world.apply("novol", container(), volumes=[{"name": "v", "secret": {"secretName": "nosuch"}}])
        await world.clock.advance(1)
        assert world.waiting("nomap") == ("CreateContainerConfigError", 'configmap "nosuch" not found')
        assert world.waiting("nokey") == (
            "CreateContainerConfigError",
            "couldn't find key nokey in ConfigMap shop/cm",
        )
        reason, message = world.waiting("root")
        assert reason == "CreateContainerConfigError"
        assert message.startswith("container has runAsNonRoot and image will run as root (pod: ")
        assert world.waiting("novol") == ("ContainerCreating", "")
        [event] = world.events("novol")
        assert event[2:] == ("FailedMount", "", 'MountVolume.SetUp failed for volume "v" : secret "nosuch" not found')


async def test_dead_containers_beyond_the_newest_are_removed(world: World) -> None:
    world.images.load("crash:1.0")
    async with world.running():
        await world.apply("p", container("c", "crash:1.0", command=["sh", "-c", "sleep 2; exit 1"]))
        await world.clock.advance(130)
        dead = [each for each in await world.runtime.list_containers() if each.state is ContainerState.EXITED]
        assert len(dead) <= 2
        assert world.status("p")["containerStatuses"][0]["restartCount"] >= 3
