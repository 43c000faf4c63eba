"""A plain script: python script.py DATA NAME [TEXT] publishes TEXT, or shows what was published.

It opens the data directory itself, so no server may have it open at the same time.
"""

import sys

import broker.blocking


def main() -> None:
    path, name, *text = sys.argv[1:]
    try:
        with broker.blocking.open(path) as b:
            channel = b.channel(name)
            if text:
                channel.publish(data=" ".join(text))
            else:
                for message in channel.history(direction="forwards").messages:
                    print(message.data)
    except broker.BrokerError as error:
        sys.exit(f"{error.message} ({error.code})")


main()
