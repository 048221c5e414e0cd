// Serves stripe-stateful-mock (a fake Stripe by others, https://github.com/Giftbit/stripe-stateful-mock) on the loopback.
import http from "node:http";
import mock from "stripe-stateful-mock";

const server = http.createServer(mock.createExpressApp());
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
