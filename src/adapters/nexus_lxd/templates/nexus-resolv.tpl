{% if config_get("user.nexus.gateway", "") != "" %}nameserver {{ config_get("user.nexus.gateway", "") }}
{% endif %}