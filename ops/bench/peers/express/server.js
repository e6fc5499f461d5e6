// The policy as an Express application usually has it; `cluster` where there are several workers.
import cluster from 'node:cluster';
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import http from 'node:http';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import helmet from 'helmet';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';
import morgan from 'morgan';
import { RedisStore } from 'rate-limit-redis';

const given = JSON.parse(process.env.BENCH_SETTING);

function authenticate(request, response, next) {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  try {
    request.user = jwt.verify(token, given.secret, {
      algorithms: ['HS256'], issuer: 'gatehouse', audience: 'gatehouse-api',
    });
  } catch {
    return response.status(401).json({ success: false, error: 'Unauthorized' });
  }
  delete request.headers.authorization;
  request.headers['x-user'] = request.user.sub;
  next();
}

function identify(request, response, next) {
  request.id = request.headers['x-request-id'] ?? randomUUID();
  request.headers['x-request-id'] = request.id;
  response.setHeader('X-Request-ID', request.id);
  next();
}

function serve() {
  const redis = new Redis(given.redis);
  const log = createWriteStream(given.log, { flags: 'a' });
  morgan.token('id', (request) => request.id);
  const app = express();
  app.use(identify);
  app.use(morgan(':id :remote-addr :method :url :status :res[content-length] :response-time', { stream: log }));
  app.use(helmet());
  app.use(authenticate);
  app.use(rateLimit({
    windowMs: given.window * 1000,
    limit: given.limit,
    keyGenerator: (request) => request.user.sub,
    store: new RedisStore({ prefix: 'express:', sendCommand: (command, ...rest) => redis.call(command, ...rest) }),
  }));
  app.use(createProxyMiddleware({ target: given.upstream, agent: new http.Agent({ keepAlive: true }) }));
  app.listen(given.port, '127.0.0.1');
}

if (cluster.isPrimary && given.workers > 1) {
  for (let number = 0; number < given.workers; number += 1) cluster.fork();
} else {
  serve();
}
