"""Apache Kafka itself, one broker in KRaft mode, as a process that can be killed and stopped.

Its jars come from a Maven repository, once, and stay in the checkout's `.local`.
"""

import fcntl
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

from batch_conductor_service.local.ports import LOCALHOST, accepts_connections, find_free_port
from batch_conductor_service.local.processes import LocalServerError, ServerProcess

KAFKA = "org.apache.kafka:kafka_2.13:3.9.1"
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
JARS = Path(__file__).parents[3] / ".local" / "kafka-jars"
FETCH_TIMEOUT_SECONDS = 300
START_TIMEOUT_SECONDS = 90
HEAP = ("-Xms128m", "-Xmx384m")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:TieredStopAtLevel=1")

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=DIRECT://{host}:{direct},PROXIED://{host}:{proxied},CONTROLLER://{host}:{controller}
advertised.listeners=DIRECT://{host}:{direct},PROXIED://{host}:{advertised}
listener.security.protocol.map=DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=DIRECT
log.dirs={data}
num.partitions=2
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
num.network.threads=2
num.io.threads=2
"""


class KraftBroker:
    """A broker whose data stay on disk when it is killed.

    It listens twice: directly, and on `proxied_port`, which it advertises as `advertised_port`:
    that of a proxy in front of it.
    """

    def __init__(self, directory: Path, *, proxied_port: int, advertised_port: int) -> None:
        self._directory = directory
        self.direct_port = find_free_port()
        self._classpath = f"{fetch_jars()}/*"
        self._properties = directory / "server.properties"
        directory.mkdir(parents=True)
        self._properties.write_text(
            _PROPERTIES.format(
                host=LOCALHOST,
                direct=self.direct_port,
                proxied=proxied_port,
                controller=find_free_port(),
                advertised=advertised_port,
                data=directory / "data",
            )
        )
        self.process = ServerProcess(
            "Kafka",
            self._java("kafka.Kafka", str(self._properties)),
            log_path=directory / "kafka.log",
        )

    @property
    def bootstrap_servers(self) -> str:
        """Its own address, past any proxy."""
        return f"{LOCALHOST}:{self.direct_port}"

    def start(self) -> None:
        """Start it and return when it listens; the first start formats its storage."""
        if not (self._directory / "data" / "meta.properties").exists():
            self._format()
        self.process.start()
        self.process.wait_ready(
            lambda: accepts_connections(self.direct_port), timeout=START_TIMEOUT_SECONDS
        )

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    def _format(self) -> None:
        arguments = ("format", "-t", _cluster_id(), "-c", str(self._properties))
        subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments), check=True, capture_output=True
        )

    def _java(self, main: str, *arguments: str) -> list[str]:
        return ["java", *HEAP, *QUIET, "-cp", self._classpath, main, *arguments]


def fetch_jars() -> Path:
    """Return the directory with Kafka's jars, fetched where there are none yet.

    Raises:
        LocalServerError: there is no Java here, or no Maven to fetch them with.
    """
    _require("java", "a Java runtime, version 11 or later")
    JARS.mkdir(parents=True, exist_ok=True)
    with (JARS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (JARS / "complete").exists():
            _require("mvn", "Maven, which fetches the jars of Apache Kafka")
            _fetch()
            (JARS / "complete").touch()
    return JARS


def _fetch() -> None:
    pom = JARS / "pom.xml"
    pom.write_text(_POM.format(dependencies="".join(map(_dependency, (KAFKA, LOGGER)))))
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={JARS}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=FETCH_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise LocalServerError(f"Maven cannot fetch {KAFKA}.\n{done.stdout}{done.stderr}")


def _dependency(coordinates: str) -> str:
    group, artifact, version = coordinates.split(":")
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
    )


def _require(program: str, what: str) -> None:
    if shutil.which(program) is None:
        raise LocalServerError(
            f"The fault tests run Apache Kafka itself and need {what}: `{program}` is not here."
        )


def _cluster_id() -> str:
    """Return an id as Kafka wants it: a UUID in 22 characters."""
    return uuid4().hex[:22]
