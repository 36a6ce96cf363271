defmodule AxonPort.Supervisor do
  @moduledoc """
  A pool of workers, supervised.

      children = [
        {AxonPort.Supervisor, name: MyApp.Agents, workers: 2, env: [{"OPENAI_API_KEY", key}]}
      ]

  The name is what callers use: `AxonPort.run_sync(MyApp.Agents, …)`.

      AxonPort.Supervisor                  rest_for_one
      ├── DynamicSupervisor                of AxonPort.Conversation; they outlive all that follows
      ├── Task.Supervisor                  tools run here
      ├── AxonPort.Pool                    which worker a run goes to
      └── DynamicSupervisor                of AxonPort.Guard, one for each worker; they drain together
          └── AxonPort.Guard               restarts with backoff, health checks
              └── AxonPort.Worker          owns the port

  ## Options

    * `:name` - an atom, required
    * `:workers` - how many, default `System.schedulers_online/0`
    * `:ready_timeout` - ms that callers wait while no worker is ready, and that a worker has to become it
    * `:cluster` - true to be found by `{:cluster, name}` from other nodes (`AxonPort.Cluster`)
    * `:backoff` - `[base: 500, max: 30_000]`, between the restarts of a worker
    * `:health` - fields of `AxonPort.Guard.Health`, as a keyword list
    * `:stable` - ms after which a worker's earlier failures are forgotten, default 10000
    * all others are the workers' (`AxonPort.Options`)

  Stopping it drains: no run is taken any more, those under way have `:grace` ms, all workers at the same time.
  """

  use Supervisor

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.{Backoff, Cluster, Codec, Guard, Options, Pool}

  @own [:name, :workers, :cluster, :backoff, :health, :stable]

  @typedoc "Options that were checked."
  @type settings :: %{
          name: atom,
          workers: pos_integer,
          scope: atom | nil,
          worker: Options.t(),
          ready_timeout: pos_integer | nil,
          backoff: Backoff.t(),
          health: Guard.Health.t(),
          stable: pos_integer
        }

  @doc """
  Starts the pool and its workers.

  Raises `ArgumentError` for an option that is wrong, `RuntimeError` where the node has no JSON codec.
  """
  @spec start_link(keyword | settings) :: Supervisor.on_start()
  def start_link(options) do
    settings = settings(options)
    Codec.ensure!()
    Supervisor.start_link(__MODULE__, settings, name: Module.concat(settings.name, Supervisor))
  end

  @doc false
  # Checked here already: from now on they are in reports of supervisors, and `AxonPort.Options` shows no keys.
  def child_spec(options) do
    settings = settings(options)
    %{id: settings.name, start: {__MODULE__, :start_link, [settings]}, type: :supervisor}
  end

  defp settings(%{worker: %Options{}} = settings), do: settings

  defp settings(options) do
    Keyword.keyword?(options) or raise ArgumentError, "the options of a pool have to be a keyword list"
    {own, worker} = Keyword.split(options, @own)
    own = for {key, value} <- own, value != nil, into: %{}, do: {key, own!(key, value)}
    name = own[:name] || raise ArgumentError, ":name is missing: an atom that callers know the pool by"

    %{
      name: name,
      workers: own[:workers] || System.schedulers_online(),
      scope: if(own[:cluster], do: Cluster.scope(name)),
      worker: Options.new([task_supervisor: Module.concat(name, Tasks)] ++ worker),
      ready_timeout: worker[:ready_timeout],
      backoff: own[:backoff] || Backoff.new([]),
      health: own[:health] || Guard.Health.new([]),
      stable: own[:stable] || 10_000
    }
  end

  defp own!(:backoff, backoff), do: Backoff.new(backoff)
  defp own!(:health, health), do: Guard.Health.new(health)
  defp own!(:name, name) when is_atom(name), do: name
  defp own!(:workers, n) when is_integer(n) and n > 0, do: n
  defp own!(:cluster, flag) when is_boolean(flag), do: flag
  defp own!(:stable, ms) when is_milliseconds(ms), do: ms
  defp own!(key, other), do: raise(ArgumentError, "#{inspect(key)} cannot be #{inspect(other)}")

  @doc "Where conversations live (`AxonPort.Conversation`)."
  @spec conversations(atom) :: atom
  def conversations(name), do: Module.concat(name, Conversations)

  @impl true
  def init(%{name: name, scope: scope} = settings) do
    # In this process, which outlives the pool.
    Pool.prepare(name)
    guards = Module.concat(name, Guards)
    guard = [pool: name] ++ Map.to_list(Map.take(settings, [:worker, :backoff, :health, :stable]))

    children =
      if(scope, do: [%{id: :pg, start: {:pg, :start_link, [scope]}}], else: []) ++
        [
          Supervisor.child_spec({DynamicSupervisor, name: conversations(name)}, id: :conversations),
          {Task.Supervisor, name: Module.concat(name, Tasks)},
          {Pool, name: name, scope: scope, ready_timeout: settings.ready_timeout},
          {DynamicSupervisor, name: guards},
          %{id: :guards, start: {__MODULE__, :start_guards, [guards, guard, settings.workers]}}
        ]

    Supervisor.init(children, strategy: :rest_for_one)
  end

  @doc false
  # No process of its own: guards are stopped together, by a supervisor that can only be given them once it runs.
  def start_guards(guards, guard, count) do
    for _ <- 1..count, do: {:ok, _pid} = DynamicSupervisor.start_child(guards, {Guard, guard})
    :ignore
  end
end
