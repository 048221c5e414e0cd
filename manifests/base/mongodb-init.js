// Joins the members of the replica set and creates the user for the servers. Idempotent: existing parts are kept, and two
// runs at the same time do not disturb each other.
//
//   MEMBERS=host:port… SECRETS=folder mongosh --nodb --file mongodb-init.js
//
// The folder holds `root-password`, `app-user` and `app-password`. Every member has created its own root user. A member that
// joins copies the first one's data, so that one root user remains.

const fs = require("fs");

const SET = "rs0";
const DATABASE = "gittix";
const WAIT_MS_MAX = 600_000;
const PAUSE_MS = 1000;
const ALREADY_INITIALIZED = 23;
const NOT_YET_INITIALIZED = 94;

const members = process.env.MEMBERS.trim().split(/\s+/);
const secret = (name) => fs.readFileSync(`${process.env.SECRETS}/${name}`, "utf8").trim();

/** Repeats `attempt` until it returns a true value; prints each new reason of a failure once. */
function until(what, attempt) {
  const deadline = Date.now() + WAIT_MS_MAX;
  let printed = "";
  while (Date.now() < deadline) {
    let reason = "not yet";
    try {
      const found = attempt();
      if (found) {
        print(`${what}: done`);
        return found;
      }
    } catch (error) {
      reason = error.message;
    }
    if (reason !== printed) {
      print(`${what}: ${reason}`);
      printed = reason;
    }
    sleep(PAUSE_MS);
  }
  throw new Error(`${what}: no success in time`);
}

const admin = (hosts, options) =>
  connect(`mongodb://root:${encodeURIComponent(secret("root-password"))}@${hosts}/admin?serverSelectionTimeoutMS=5000&${options}`);

function run(database, command) {
  const reply = database.runCommand(command);
  if (!reply.ok) {
    throw new Error(reply.errmsg);
  }
  return reply;
}

/** Makes the member the first one of a set. Also returns true if another run has done so meanwhile. */
function initiate(member) {
  try {
    return run(admin(member, "directConnection=true"), { replSetInitiate: { _id: SET, members: [{ _id: 0, host: member }] } });
  } catch (error) {
    if (error.code === ALREADY_INITIALIZED) {
      return true;
    }
    throw error;
  }
}

/** Returns the configuration of a member, or null if the member belongs to no set. */
function configOf(member) {
  try {
    return run(member, { replSetGetConfig: 1 }).config;
  } catch (error) {
    if (error.code === NOT_YET_INITIALIZED) {
      return null;
    }
    throw error;
  }
}

// All members are asked first: a member that lost its disk must not create a second set beside the existing one.
const configs = members.map((host) => until(host, () => ({ config: configOf(admin(host, "directConnection=true")) })));
if (configs.every(({ config }) => config === null)) {
  until("a set of one", () => initiate(members[0]));
}

const known = members.filter((_, index) => configs[index].config !== null);
const seeds = known.length > 0 ? known : [members[0]];
const set = until("a primary", () => {
  const connection = admin(seeds.join(), `replicaSet=${SET}`);
  return run(connection, { hello: 1 }).isWritablePrimary && connection;
});

const user = secret("app-user");
// The role is for this database only; it covers indexes, transactions and change streams.
const roles = [{ role: "readWrite", db: DATABASE }];

/** Returns whether the user can sign in with the password of the secret. */
function signsIn() {
  const uri = `mongodb://${user}:${encodeURIComponent(secret("app-password"))}@${seeds.join()}/${DATABASE}`;
  try {
    return run(connect(`${uri}?replicaSet=${SET}&serverSelectionTimeoutMS=5000`), { ping: 1 }).ok;
  } catch {
    return false;
  }
}

// The user is created before the other members join: a server that finds a primary but no user exits. A user with another
// name is created beside the existing one, so that servers that still sign in as the old user keep running.
until(`the servers' user ${user}`, () => {
  const database = set.getSiblingDB(DATABASE);
  const found = run(database, { usersInfo: user }).users;
  const granted = found.length === 1 && EJSON.stringify(found[0].roles) === EJSON.stringify(roles);
  if (granted && signsIn()) {
    return true;
  }
  return run(database, {
    [found.length > 0 ? "updateUser" : "createUser"]: user,
    pwd: secret("app-password"),
    roles,
    writeConcern: { w: "majority", wtimeout: 10_000 },
  });
});

// A set accepts one new member at a time.
for (const host of members) {
  until(`${host} joins`, () => {
    const { config } = run(set, { replSetGetConfig: 1 });
    if (config.members.some((member) => member.host === host)) {
      return true;
    }
    config.members.push({ _id: 1 + Math.max(...config.members.map((member) => member._id)), host });
    config.version += 1;
    return run(set, { replSetReconfig: config }).ok;
  });
}
until("every member follows", () => {
  const states = run(set, { replSetGetStatus: 1 }).members.map((member) => member.stateStr);
  return states.length >= members.length && states.every((state) => ["PRIMARY", "SECONDARY"].includes(state));
});
