{{ config_get("user.nexus.hostname", container.name) }}
