defmodule AxonPort do
  @moduledoc """
  pydantic-ai agents under OTP supervision.

      children = [{AxonPort.Supervisor, name: MyApp.Agents}]

      {:ok, result} = AxonPort.run_sync(MyApp.Agents, MyApp.Guide, "What shall I wear in Riga?")
      result.output

  ## Servers

  A `t:server/0` is the name of an `AxonPort.Supervisor`: its pool chooses a worker for each run. It can also be
  `{:cluster, name}`, the supervisors of that name on all connected nodes (see `AxonPort.Cluster`), or one worker, by
  its pid or its name. A process that is no worker raises `ArgumentError` and is left alone; a pool of another node is
  found by its cluster.

  ## Agents

  An `t:agent/0` is a module that uses `AxonPort.Agent`, an `AxonPort.Agent` struct, or what makes one. It is created on
  a worker when a run needs it there, so workers may come and go. The name of an agent that `create_agent/3` has
  created will do as well.

  ## Callers

  Whoever asks is monitored: if it dies, its run is cancelled. Each call has exactly one outcome, `{:ok, _}` or
  `{:error, %AxonPort.Error{}}`, also when the worker, its node or its process dies; nothing raises but nonsense in the
  arguments (`ArgumentError`), and streams, which have no other way to tell.
  """

  import AxonPort.Milliseconds, only: [is_milliseconds: 1]

  alias AxonPort.{Command, Error, Relay, Request, Result, Router, Run, Worker}

  @type server :: Worker.server() | {:cluster, atom}
  @type agent :: AxonPort.Agent.t() | module | keyword | map | String.t()

  # What a busy event loop may take to answer what is no run.
  @patience_ms 30_000

  @typedoc "A text, a list of parts (maps, as in the protocol), or nil where a history or deferred results carry on."
  @type prompt :: String.t() | [map] | nil

  @doc """
  Runs an agent, tools included, and waits for the result.

  Options of the run, over the agent's:

    * `:timeout` - in milliseconds, the agent's by default, else ten minutes. The worker ends the run then, with reason
      `:timeout` and the messages so far; if it does not, this side does two seconds later, with `:owner_timeout`, and
      cancels the run. It is the caller's limit as well: the wait for a worker, all attempts and the waits between them
      are within it, and each worker is told what is left
    * `:history` - the messages of earlier results, joined
    * `:messages` - which come back: `:new` (the default), `:all`, `:none`
    * `:deps` - what templates and tools are given
    * `:output` - a type (`AxonPort.Schema`), which the result meets and is cast by
    * `:instructions`, `:model`, `:model_settings`, `:usage_limits`, `:idle_timeout`, `:retry`,
      `:metadata`, `:deferred_results`, `:traceparent` - as in the protocol

  And of the call:

    * `:attempts` - how often it is tried in all, on another worker where there is one, while it fails in a retryable
      way. Default 1: tools may have done things that cannot be done twice. What was refused before it began goes
      elsewhere in any case. No attempt begins after `:timeout`: where a provider wants a longer wait than is left, its
      error is the outcome
  """
  @spec run_sync(server, agent, prompt, keyword) :: {:ok, Result.t()} | {:error, Error.t()}
  def run_sync(server, agent, prompt, options \\ []) do
    {attempts, options} = Run.attempts!(options)

    with {:ok, request} <- Run.request(:run, agent, prompt, options),
         {:ok, result} <- Router.call(server, request, attempts),
         do: Result.cast(result, request.output)
  end

  @doc """
  Runs an agent in the background. The calling process gets one message, `{:axon_port, ref, {:result, result}}` or
  `{:axon_port, ref, {:error, error}}`.

  Options are those of `run_sync/4` except `:attempts`, and with `stream: true` those of a stream: `{:axon_port, ref,
  {:chunk, chunk}}` comes before the end, for each piece. They come as fast as the model is, unless `:credit` is given:
  then as many, and more by `credit/3`. `run_stream/4` does that by itself.
  """
  @spec run(server, agent, prompt, keyword) :: {:ok, reference} | {:error, Error.t()}
  def run(server, agent, prompt, options \\ []) do
    {streams?, options} = Keyword.pop(options, :stream, false)
    is_boolean(streams?) or raise ArgumentError, ":stream of a run cannot be #{inspect(streams?)}"

    with {:ok, request} <- Run.request(if(streams?, do: :stream, else: :run), agent, prompt, options),
         {:ok, %{ref: ref}} <- Router.open(server, request, &Relay.open(server, &1, &2)),
         do: {:ok, ref}
  end

  @doc """
  Runs an agent as a lazy stream of `AxonPort.Chunk`s, with the `AxonPort.Result` as its last element.

      for %AxonPort.Chunk{kind: :text, data: piece} <- AxonPort.run_stream(server, agent, "Tell me"), do: IO.write(piece)

  Nothing begins before the stream is enumerated. A slow consumer holds the worker up, not its own mailbox
  (`AxonPort.Stream`); halting the stream cancels the run. Raises `AxonPort.Error` in the enumeration, which is one
  process's own.

  Options are those of `run_sync/4` except `:attempts`, and

    * `:events` - which kinds of chunks: `:text` (the default), `:thinking`, `:output`, `:tool_call`, `:tool_return`
    * `:window` - how many chunks may be under way at a time, default 16
  """
  @spec run_stream(server, agent, prompt, keyword) :: Enumerable.t()
  def run_stream(server, agent, prompt, options \\ []),
    do: AxonPort.Stream.new(server, agent, prompt, options)

  @doc "Gives a stream that was begun by `run/4` with `:credit` more chunks."
  @spec credit(server, reference, pos_integer) :: :ok
  def credit(server, ref, n) when is_reference(ref) and is_integer(n) and n > 0 do
    with {:ok, {worker, id}} <- locate(server, ref), do: Worker.credit(worker, id, n)
  end

  @doc """
  Cancels a run by its reference. True where it was still under way: its error is `:cancelled`, with the messages to go
  on from. False where it has ended, and where it is at no worker: between one that has refused it and the next one.
  """
  @spec cancel(server, reference) :: {:ok, boolean} | {:error, Error.t()}
  def cancel(server, ref) when is_reference(ref), do: target(server, ref, "cancel", "cancelled", %{})

  @doc """
  Adds to the prompt of a run that is under way; false where it has ended. `:priority` is `:asap` (with the model's
  next request, the default) or `:when_idle` (when the run would otherwise end).
  """
  @spec enqueue(server, reference, prompt, keyword) :: {:ok, boolean} | {:error, Error.t()}
  def enqueue(server, ref, prompt, options \\ []) when is_reference(ref) do
    target(server, ref, "enqueue", "enqueued", %{prompt: prompt, priority: options[:priority]})
  end

  defp target(server, ref, type, answer, fields) do
    with {:ok, {worker, id}} <- locate(server, ref),
         {:ok, command} <- Command.new(type, Map.put(fields, :target, id)),
         {:ok, result} <- Worker.call(worker, Request.new(:command, command, timeout: @patience_ms)) do
      {:ok, result[answer] == true}
    else
      :ok -> {:ok, false}
      {:error, error} -> {:error, error}
    end
  end

  defp locate(server, ref) do
    Enum.find_value(Router.workers(server), :ok, fn worker ->
      with {:ok, id} <- Worker.find(worker, ref), do: {:ok, {worker, id}}, else: (:none -> nil)
    end)
  end

  @doc """
  Creates an agent, in place of one of its name. Of a pool every worker gets it when it first needs it, as long as its
  supervisor lives; this tells whether a worker takes the definition.
  """
  @spec create_agent(server, agent, keyword) :: {:ok, map} | {:error, Error.t()}
  def create_agent(server, agent, options \\ []) do
    agent = AxonPort.Agent.new(agent)

    with {:ok, command} <- Run.definition(agent, Keyword.get(options, :replace, true)),
         {:ok, create} <- Run.definition(agent) do
      fields = [agent: agent, agent_id: agent.id, create: create, timeout: @patience_ms]
      Router.create(server, Request.new(:create, command, fields))
    end
  end

  @doc "Deletes an agent from every worker. Runs under way finish."
  @spec delete_agent(server, String.t()) :: :ok | {:error, Error.t()}
  def delete_agent(server, agent_id) do
    with {:ok, command} <- Command.new("delete_agent", agent_id: agent_id) do
      Router.delete(server, Request.new(:delete, command, agent_id: agent_id, timeout: @patience_ms))
    end
  end

  @doc "The agents that a worker has. Option: `:timeout`, in milliseconds, as of all that follow; default 30000."
  @spec list_agents(server, keyword) :: {:ok, [map]} | {:error, Error.t()}
  def list_agents(server, options \\ []) do
    with {:ok, %{"agents" => agents}} <- ask(server, "list_agents", %{}, options), do: {:ok, agents}
  end

  @doc "A worker's pulse: `uptime_ms`, `inflight`, `agents`, `loop_lag_ms`. Answered beside everything else."
  @spec ping(server, keyword) :: {:ok, map} | {:error, Error.t()}
  def ping(server, options \\ []), do: ask(server, "ping", %{}, options)

  @doc "A worker's counters since its start (LIFE-STATS). Of a pool, those of one worker: see `AxonPort.Pool.workers/1`."
  @spec stats(server, keyword) :: {:ok, map} | {:error, Error.t()}
  def stats(server, options \\ []), do: ask(server, "stats", %{}, options)

  @doc """
  Sets what a worker logs from now on. Of a pool, each that is ready does; one that starts later begins with the
  `log_level` of its options.
  """
  @spec set_log_level(server, :debug | :info | :warning | :error | :critical, keyword) ::
          :ok | {:error, Error.t()}
  def set_log_level(server, level, options \\ []) do
    with {:ok, request} <- request("set_log_level", %{level: level}, options),
         do: Router.set_log_level(server, request)
  end

  defp ask(server, type, fields, options) do
    with {:ok, request} <- request(type, fields, options), do: Router.call(server, request, 1)
  end

  defp request(type, fields, options) do
    timeout = options[:timeout] || @patience_ms

    is_milliseconds(timeout) or
      raise ArgumentError, ":timeout cannot be #{inspect(timeout)}: it is in milliseconds"

    with {:ok, command} <- Command.new(type, fields),
         do: {:ok, Request.new(:command, command, timeout: timeout)}
  end
end
