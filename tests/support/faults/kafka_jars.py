"""The jars of Apache Kafka: from a Maven repository, once; they stay in the checkout's `.local`."""

import fcntl
import shutil
import subprocess
from pathlib import Path

from local_stack.processes import LocalServerError

KAFKA = "org.apache.kafka:kafka_2.13:3.9.1"
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
JARS = Path(__file__).parents[3] / ".local" / "kafka-jars"
FETCH_TIMEOUT_SECONDS = 300

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""


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
            "The fault tests run Apache Kafka itself: from a container where a Docker engine "
            f"answers, else with {what}: `{program}` is not here."
        )
