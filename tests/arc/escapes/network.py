"""Sockets of every family, and ways to send that look like none."""


def fast_open():
    with socket.socket() as client:
        client.sendto(b"", socket.MSG_FASTOPEN, ("127.0.0.1", PORT))
    return True


def fast_open_message():
    with socket.socket() as client:
        client.sendmsg([b""], [], socket.MSG_FASTOPEN, ("127.0.0.1", PORT))
    return True


def fast_open_on_connect():
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, 30, 1)
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def connect():
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def connect_multipath():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def connect_six():
    with socket.socket(socket.AF_INET6) as client:
        return client.connect_ex((f"::ffff:127.0.0.1", PORT)) == 0


def connect_six_fast_open():
    with socket.socket(socket.AF_INET6) as client:
        client.sendto(b"", socket.MSG_FASTOPEN, ("::ffff:127.0.0.1", PORT))
    return True


def listen():
    with socket.socket() as server:
        server.listen()  # with no bind: the kernel chooses a port
        return server.getsockname()[1] > 0


def listen_bound():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    return True


def datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", ("127.0.0.1", PORT)) == 1


def ping():
    return raised(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)


def raw():
    return raised(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)


def packets():
    return raised(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0x0300)


def unix():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(SOCKET)
    return True


def unix_abstract():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0escaped")
    return True


def unix_datagram():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", SOCKET)
    return True


def unix_pair():
    return raised(socket.socketpair)


def netlink():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as client:
        client.bind((0, 0))
    return True


def every_family():
    # Unix, the Internet, and all that the kernel may load a module for.
    return any(call("socket", family, kind, 0) >= 0 for family in range(1, 46) for kind in (1, 2, 3, 4, 5, 6))


def encryption():
    return raised(socket.socket, 38, socket.SOCK_SEQPACKET, 0)


def ring():
    return worked("io_uring_setup", 4, ctypes.create_string_buffer(120))


def asynchronous_input_output():
    return worked("io_setup", 4, ctypes.create_string_buffer(8))


def name_service():
    return bool(socket.getaddrinfo("localhost", PORT, type=socket.SOCK_STREAM)) and connect()
