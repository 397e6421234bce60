[Match]
Name=eth0

[Network]
{% if config_get("user.nexus.address", "") != "" %}Address={{ config_get("user.nexus.address", "") }}
Gateway={{ config_get("user.nexus.gateway", "") }}
DNS={{ config_get("user.nexus.gateway", "") }}
{% else %}DHCP=ipv4
{% endif %}LinkLocalAddressing=no
IPv6AcceptRA=no
