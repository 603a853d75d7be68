"""Programs that load an exported file in a fresh process and run it on stored inputs."""
