// Knock's official SDK performs every operation of the fake and asserts what it
// gets. KNOCK_BASE_URL names the fake; each test uses ids of its own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Knock from '@knocklabs/node';

assert.ok(process.env.KNOCK_BASE_URL, 'KNOCK_BASE_URL must name the fake');
const options = { baseURL: process.env.KNOCK_BASE_URL, apiKey: 'sk_test_12345', maxRetries: 0 };
const knock = new Knock(options);
const channel = '8209f26c-62a5-461d-95e2-a5716a26e652';
const tenants = '$tenants';

async function rejects(promise, type, status, code) {
  await assert.rejects(promise, (err) => {
    assert.ok(err instanceof type, `${err?.constructor?.name}: ${err?.message}`);
    assert.equal(err.status, status);
    if (code !== undefined) {
      assert.equal(err.error.code, code);
      assert.equal(err.error.status, status);
    }
    assert.ok(err.headers.get('x-request-id'));
    return true;
  });
}

async function noContent(call) {
  const { data, response } = await call.withResponse();
  assert.equal(response.status, 204);
  assert.equal(response.headers.get('content-type'), null);
  assert.ok(data === null || data === undefined);
}

async function all(page) {
  const items = [];
  for await (const item of page) items.push(item);
  return items;
}

async function finish(operation) {
  assert.equal(operation.status, 'queued');
  const statuses = [];
  do {
    operation = await knock.bulkOperations.get(operation.id);
    statuses.push(operation.status);
  } while (operation.status !== 'completed');
  assert.deepEqual(statuses, ['processing', 'completed']);
  assert.equal(operation.processed_rows, operation.estimated_total_rows);
  return operation;
}

test('users: identify merges and keeps null', async () => {
  await knock.users.update('u-merge', { name: 'Ada', email: 'ada@example.com', plan: { tier: 'pro', seats: 3 }, tags: ['a', 'b'] });
  const user = await knock.users.update('u-merge', { email: null, plan: { seats: null }, tags: ['c'], created_at: '2026-11-20T09:15:02.123Z' });
  assert.equal(user.__typename, 'User');
  assert.equal(user.name, 'Ada');
  assert.equal(user.email, null);
  assert.deepEqual(user.plan, { tier: 'pro', seats: null });
  assert.deepEqual(user.tags, ['c']);
  assert.equal(user.created_at, '2026-11-20T09:15:02.123Z');
  assert.deepEqual(await knock.users.get('u-merge'), user);
});

test('users: ids are one path segment', async () => {
  for (const id of ['user with space', 'user?with=query', 'user%2Fpercent', 'user@example.com', 'ümlaut山', 'user+plus', '%2e%2e']) {
    assert.equal((await knock.users.update(id, {})).id, id);
    assert.equal((await knock.users.get(id)).id, id);
    await noContent(knock.users.delete(id));
  }
  await rejects(knock.users.update('a/b', {}), Knock.UnprocessableEntityError, 422, 'invalid_params');
  await rejects(knock.users.update('a#b', {}), Knock.UnprocessableEntityError, 422, 'invalid_params');
  await rejects(knock.users.get('../tenants/org'), Knock.NotFoundError, 404, 'resource_missing');
});

test('users: delete', async () => {
  await knock.users.update('u-delete', {});
  await noContent(knock.users.delete('u-delete'));
  await rejects(knock.users.get('u-delete'), Knock.NotFoundError, 404, 'resource_missing');
});

test('users: merge', async () => {
  await knock.users.update('u-keep', { name: 'Keep' });
  await knock.users.update('u-gone', { name: 'Gone', email: 'gone@example.com' });
  const merged = await knock.users.merge('u-keep', { from_user_id: 'u-gone' });
  assert.equal(merged.id, 'u-keep');
  assert.equal(merged.name, 'Keep');
  assert.equal(merged.email, 'gone@example.com');
  await rejects(knock.users.get('u-gone'), Knock.NotFoundError, 404);
});

test('users: pages', async () => {
  for (let i = 0; i < 5; i++) await knock.users.update(`u-page-${i}`, { preferences: { default: { channel_types: { email: true } } } });
  const first = await knock.users.list({ page_size: 2, include: ['preferences'] });
  assert.equal(first.entries.length, 2);
  assert.equal(first.page_info.page_size, 2);
  assert.ok(first.page_info.after);
  assert.equal(first.page_info.before, null);
  const seen = (await all(knock.users.list({ page_size: 2, include: ['preferences'] }))).filter((u) => u.id.startsWith('u-page-'));
  assert.deepEqual(seen.map((u) => u.id), ['u-page-0', 'u-page-1', 'u-page-2', 'u-page-3', 'u-page-4']);
  assert.equal(seen[0].preferences.default.channel_types.email, true);
  await rejects(knock.users.list({ page_size: 51 }), Knock.UnprocessableEntityError, 422, 'invalid_params');
});

test('users: channel data', async () => {
  const set = await knock.users.setChannelData('u-channel', channel, { data: { tokens: ['t1'] } });
  assert.equal(set.__typename, 'ChannelData');
  assert.equal(set.channel_id, channel);
  assert.deepEqual(set.data.tokens, ['t1']);
  assert.deepEqual(set.data.devices, [{ token: 't1', locale: null, timezone: null }]);
  await knock.users.setChannelData('u-channel', channel, { data: { connections: [{ user_id: 'U1', access_token: 'x' }] } });
  assert.deepEqual((await knock.users.getChannelData('u-channel', channel)).data, { connections: [{ user_id: 'U1', access_token: 'x' }] });
  await noContent(knock.users.unsetChannelData('u-channel', channel));
  await rejects(knock.users.getChannelData('u-channel', channel), Knock.NotFoundError, 404, 'resource_missing');
});

test('users: preferences', async () => {
  await knock.users.setPreferences('u-prefs', 'default', { categories: { a: true }, workflows: { w: false } });
  const merged = await knock.users.setPreferences('u-prefs', 'default', { __persistence_strategy__: 'merge', categories: { b: { channel_types: { email: false } } }, workflows: null });
  assert.deepEqual(merged.categories, { a: true, b: { channel_types: { email: false } } });
  assert.equal(merged.workflows, null);
  const replaced = await knock.users.setPreferences('u-prefs', 'default', { channel_types: { sms: true } });
  assert.equal(replaced.categories, null);
  assert.deepEqual(await knock.users.getPreferences('u-prefs', 'default'), replaced);
  await knock.tenants.set('t-prefs', { settings: { preference_set: { categories: { z: false } } } });
  const behind = await knock.users.getPreferences('u-prefs', 'default', { tenant: 't-prefs' });
  assert.deepEqual(behind.categories, { z: false });
  await noContent(knock.users.unsetPreferences('u-prefs', 'default'));
  assert.equal((await knock.users.getPreferences('u-prefs', 'default')).channel_types, null);
});

test('users: bulk', async () => {
  const done = await finish(await knock.users.bulk.identify({ users: [{ id: 'b-1', name: 'B', phone: null }, { id: 'b-2' }] }));
  assert.equal(done.success_count, 2);
  assert.equal((await knock.users.get('b-1')).phone, null);
  await finish(await knock.users.bulk.setPreferences({ user_ids: ['b-1'], preferences: { id: 't-bulk', channel_types: { email: false } } }));
  assert.deepEqual((await knock.users.getPreferences('b-1', 't-bulk')).channel_types, { email: false });
  const deleted = await finish(await knock.users.bulk.delete({ user_ids: ['b-1', 'b-missing'] }));
  assert.equal(deleted.error_count, 1);
  assert.deepEqual(deleted.error_items, [{ id: 'b-missing', collection: null }]);
  await rejects(knock.users.bulk.delete({ user_ids: Array(1001).fill('x') }), Knock.UnprocessableEntityError, 422, 'invalid_params');
  await rejects(knock.bulkOperations.get('3f1c2c1e-8f6b-4a53-9d0c-2b6f6a1d7e10'), Knock.NotFoundError, 404, 'resource_missing');
});

test('objects: set, get, list, delete', async () => {
  await knock.objects.set('teams', 'o-1', { name: 'Red', meta: { a: 1, b: 2 } });
  const object = await knock.objects.set('teams', 'o-1', { meta: { b: null }, logo: null });
  assert.equal(object.__typename, 'Object');
  assert.equal(object.collection, 'teams');
  assert.deepEqual(object.properties, { name: 'Red', meta: { a: 1, b: null }, logo: null });
  assert.deepEqual(await knock.objects.get('teams', 'o-1'), object);
  await rejects(knock.objects.set('teams', 'o-1', { created_at: 1795166102123 }), Knock.UnprocessableEntityError, 422, 'invalid_params');
  assert.ok((await all(knock.objects.list('teams', { page_size: 1 }))).some((o) => o.id === 'o-1'));
  await noContent(knock.objects.delete('teams', 'o-1'));
  await rejects(knock.objects.delete('teams', 'o-1'), Knock.NotFoundError, 404, 'resource_missing');
});

test('objects: subscriptions, with bodies on DELETE', async () => {
  await rejects(knock.objects.addSubscriptions(tenants, 't-none', { recipients: ['u'] }), Knock.NotFoundError, 404, 'resource_missing');
  await knock.tenants.set('t-subs', { name: 'Acme' });
  const added = await knock.objects.addSubscriptions(tenants, 't-subs', {
    recipients: ['s-1', { id: 's-2', name: 'Two' }, { collection: 'teams', id: 's-team', name: 'Team' }],
    properties: { role: 'admin', none: null },
  });
  assert.equal(added.length, 3);
  assert.deepEqual(added.map((s) => s.recipient.id), ['s-1', 's-2', 's-team']);
  assert.equal(added[0].object.properties.name, 'Acme');
  assert.deepEqual(added[0].properties, { role: 'admin', none: null });
  assert.equal((await knock.users.get('s-2')).name, 'Two');
  await rejects(knock.users.get('s-1'), Knock.NotFoundError, 404);
  const again = await knock.objects.addSubscriptions(tenants, 't-subs', { recipients: ['s-2'], properties: null });
  assert.equal(again[0].properties, null);

  const ids = async (query) => (await all(knock.objects.listSubscriptions(tenants, 't-subs', query))).map((s) => s.recipient.id);
  assert.deepEqual(await ids({ page_size: 1 }), ['s-1', 's-2', 's-team']);
  assert.deepEqual(await ids({ mode: 'object', recipients: ['s-2'] }), ['s-2']);
  assert.deepEqual(await ids({ recipients: [{ collection: 'teams', id: 's-team' }] }), ['s-team']);
  const own = await all(knock.objects.listSubscriptions('teams', 's-team', { mode: 'recipient', objects: [{ collection: tenants, id: 't-subs' }], include: ['preferences'] }));
  assert.deepEqual(own.map((s) => s.object.id), ['t-subs']);
  const ofUser = await all(knock.users.listSubscriptions('s-2', { objects: [{ collection: tenants, id: 't-subs' }, { collection: 'teams', id: 'x' }] }));
  assert.deepEqual(ofUser.map((s) => s.object.id), ['t-subs']);

  const removed = await knock.objects.deleteSubscriptions(tenants, 't-subs', { recipients: ['s-1', 'stranger', { collection: 'teams', id: 's-team' }] });
  assert.deepEqual(removed.map((s) => s.recipient.id), ['s-1', 's-team']);
  assert.deepEqual(await ids(), ['s-2']);
  await rejects(knock.objects.addSubscriptions(tenants, 't-subs', { recipients: Array(101).fill('x') }), Knock.UnprocessableEntityError, 422, 'invalid_params');
});

test('objects: channel data and preferences', async () => {
  await knock.objects.setChannelData(tenants, 't-channel', channel, { data: { token: { access_token: 'x' } } });
  assert.deepEqual((await knock.objects.getChannelData(tenants, 't-channel', channel)).data, { token: { access_token: 'x' } });
  assert.equal((await knock.tenants.get('t-channel')).id, 't-channel');
  await noContent(knock.objects.unsetChannelData(tenants, 't-channel', channel));
  await rejects(knock.objects.getChannelData(tenants, 't-channel', channel), Knock.NotFoundError, 404, 'resource_missing');

  await knock.objects.setPreferences('teams', 'o-prefs', 'default', { categories: { a: false } });
  assert.deepEqual((await knock.objects.getPreferences('teams', 'o-prefs', 'default')).categories, { a: false });
  await noContent(knock.objects.unsetPreferences('teams', 'o-prefs', 'default'));
});

test('objects: bulk', async () => {
  await finish(await knock.objects.bulk.set('squads', { objects: [{ id: 'q-1', name: 'One', plan: null }, { id: 'q-2' }] }));
  assert.deepEqual((await knock.objects.get('squads', 'q-1')).properties, { name: 'One', plan: null });
  const added = await finish(await knock.objects.bulk.addSubscriptions('squads', {
    subscriptions: [{ id: 'q-1', recipients: ['u', { id: 'q-user', name: 'Q' }], properties: { role: 'x' } }, { id: 'q-missing', recipients: ['u'] }],
  }));
  assert.deepEqual(added.error_items, [{ id: 'q-missing', collection: 'squads' }]);
  assert.equal((await all(knock.objects.listSubscriptions('squads', 'q-1'))).length, 2);
  await finish(await knock.objects.bulk.deleteSubscriptions('squads', { subscriptions: [{ id: 'q-1', recipients: ['u', { collection: 'teams', id: 'x' }] }] }));
  assert.equal((await all(knock.objects.listSubscriptions('squads', 'q-1'))).length, 1);
  await finish(await knock.objects.bulk.delete('squads', { object_ids: ['q-1', 'q-2'] }));
  assert.deepEqual(await all(knock.objects.list('squads')), []);
});

test('tenants: set, get, list, delete, and the same store as objects', async () => {
  await knock.tenants.set('t-1', { name: 'Acme', slug: 'acme', settings: { branding: { primary_color: '#112233', icon_url: null } } });
  const tenant = await knock.tenants.set('t-1', { slug: null, settings: { preference_set: { categories: { a: true } } }, resolve_full_preference_settings: true });
  assert.equal(tenant.__typename, 'Tenant');
  assert.equal(tenant.name, 'Acme');
  assert.equal(tenant.slug, null);
  assert.deepEqual(tenant.settings.branding, { primary_color: '#112233', icon_url: null });
  assert.deepEqual(tenant.settings.preference_set.categories, { a: true });
  assert.equal((await knock.tenants.set('t-1', { settings: { preference_set: null } })).settings.preference_set, null);
  assert.equal((await knock.objects.get(tenants, 't-1')).properties.name, 'Acme');
  assert.equal((await knock.tenants.get('t-1', { resolve_full_preference_settings: true })).name, 'Acme');
  assert.deepEqual((await all(knock.tenants.list({ tenant_id: 't-1', page_size: 5 }))).map((t) => t.id), ['t-1']);
  await noContent(knock.tenants.delete('t-1'));
  await rejects(knock.objects.get(tenants, 't-1'), Knock.NotFoundError, 404, 'resource_missing');
});

test('tenants: bulk', async () => {
  await finish(await knock.tenants.bulk.set({ tenants: [{ id: 'tb 1', name: 'One', slug: 'a' }, 'tb-2'] }));
  assert.equal((await knock.tenants.get('tb 1')).slug, 'a');
  const done = await finish(await knock.tenants.bulk.delete({ tenant_ids: ['tb 1', 'tb-2', 'tb-missing'] }));
  assert.equal(done.success_count, 2);
  assert.deepEqual(done.error_items, [{ id: 'tb-missing', collection: tenants }]);
});

test('audiences', async () => {
  const members = [{ user: { id: 'a-1', name: 'One' } }, { user: { id: 'a-ghost' }, tenant: 'org' }];
  await rejects(knock.audiences.addMembers('paid', { members }), Knock.NotFoundError, 404, 'resource_missing');
  await noContent(knock.audiences.addMembers('paid', { members, create_audience: true }));
  const listed = await knock.audiences.listMembers('paid');
  assert.deepEqual(listed.entries.map((m) => [m.user_id, m.tenant, m.user.name]), [['a-1', null, 'One'], ['a-ghost', 'org', undefined]]);
  assert.equal((await knock.users.get('a-1')).name, 'One');
  await noContent(knock.audiences.removeMembers('paid', { members: [{ user: { id: 'a-ghost' }, tenant: 'org' }] }));
  assert.deepEqual((await knock.audiences.listMembers('paid')).entries.map((m) => m.user_id), ['a-1']);
});

test('workflows: trigger and cancel', async () => {
  const run = await knock.workflows.trigger('welcome', {
    recipients: ['w-stranger', { id: 'w-1', name: 'One', $trigger_data: { x: 1 } }, { collection: tenants, id: 'w-org' }],
    actor: { id: 'w-actor' },
    tenant: { id: 'w-org', name: 'Acme' },
    data: { nested: { a: null } },
    cancellation_key: 'w-cancel',
    settings: { skip_delay: true },
  });
  assert.match(run.workflow_run_id, /^[0-9a-f-]{36}$/);
  assert.equal((await knock.users.get('w-1')).$trigger_data, undefined);
  assert.equal((await knock.tenants.get('w-org')).name, 'Acme');
  await rejects(knock.users.get('w-stranger'), Knock.NotFoundError, 404);
  await knock.workflows.trigger('welcome', { recipients: [], actor: null, tenant: null, data: null, cancellation_key: null, settings: null });
  await noContent(knock.workflows.cancel('welcome', { cancellation_key: 'w-cancel', recipients: ['w-1', { collection: tenants, id: 'w-org' }] }));
  await noContent(knock.workflows.cancel('welcome', { cancellation_key: 'w-cancel', recipients: null }));
  await rejects(knock.workflows.trigger('welcome', { recipients: ['w-1'], actor: 'w-unknown' }), Knock.UnprocessableEntityError, 422, 'actor_missing');
  await rejects(knock.workflows.trigger('welcome', { recipients: Array(1001).fill('x') }), Knock.UnprocessableEntityError, 422, 'invalid_params');
  await rejects(knock.workflows.trigger('welcome', {}), Knock.UnprocessableEntityError, 422, 'invalid_params');
});

test('workflows: idempotency', async () => {
  const trigger = (data) => knock.workflows.trigger('welcome', { recipients: ['i-1'], data }, { idempotencyKey: 'i-key' }).withResponse();
  const first = await trigger({ a: 1, b: null });
  assert.equal(first.response.headers.get('idempotent-replayed'), null);
  const again = await trigger({ b: null, a: 1 });
  assert.equal(again.response.headers.get('idempotent-replayed'), 'true');
  assert.equal(again.response.headers.get('original-x-request-id'), first.response.headers.get('x-request-id'));
  assert.deepEqual(again.data, first.data);
  await rejects(trigger({ a: 2 }), Knock.BadRequestError, 400, 'idempotency_key_mismatch');
  await rejects(knock.workflows.trigger('welcome', { recipients: ['i-1'] }, { idempotencyKey: 'k'.repeat(256) }), Knock.UnprocessableEntityError, 422, 'invalid_params');
});

test('schedules', async () => {
  const created = await knock.schedules.create({
    workflow: 'weekly-digest', recipients: ['d-1', { id: 'd-2', name: 'Two' }, { collection: 'teams', id: 'd-team' }], tenant: 'd-org', actor: null,
    data: { k: 1 }, repeats: [{ frequency: 'weekly', days: ['mon'], hours: 8, minutes: 30 }], scheduled_at: '2026-12-01T09:00:00Z',
  });
  assert.equal(created.length, 3);
  assert.equal(created[1].recipient.name, 'Two');
  assert.equal(created[0].repeats[0].frequency, 'weekly');
  assert.equal(created[0].next_occurrence_at, '2026-12-01T09:00:00Z');
  assert.equal(created[0].actor, null);
  const list = async (query) => (await all(knock.schedules.list({ workflow: 'weekly-digest', ...query }))).map((s) => s.recipient.id);
  assert.deepEqual(await list({ page_size: 1 }), ['d-1', 'd-2', 'd-team']);
  assert.deepEqual(await list({ recipients: ['d-2'], tenant: 'd-org' }), ['d-2']);
  assert.deepEqual(await list({ recipients: [{ collection: 'teams', id: 'd-team' }] }), ['d-team']);
  const updated = await knock.schedules.update({ schedule_ids: [created[0].id], data: null, ending_at: '2027-01-01T00:00:00Z' });
  assert.equal(updated[0].data, null);
  const removed = await knock.schedules.delete({ schedule_ids: created.map((s) => s.id) });
  assert.equal(removed.length, 3);
  assert.deepEqual(await list({}), []);
  const done = await finish(await knock.schedules.bulk.create({ schedules: [{ workflow: 'weekly-digest', recipient: 'd-1', scheduled_at: '2026-12-01T09:00:00Z' }] }));
  assert.equal(done.success_count, 1);
  assert.deepEqual(await list({}), ['d-1']);
});

test('keys and routes', async () => {
  await rejects(new Knock({ ...options, apiKey: 'pk_test_1' }).users.get('x'), Knock.PermissionDeniedError, 403, 'authorization');
  await rejects(knock.users.get('x', { headers: { Authorization: null } }), Knock.AuthenticationError, 401, 'api_key_missing');
  await rejects(knock.get('/v1/nothing'), Knock.NotFoundError, 404);
  await assert.rejects(knock.get('/v1/nothing'), (err) => {
    assert.deepEqual(err.error, { errors: { detail: '404 Not Found' } });
    return true;
  });
});
