defmodule AxonPort.Telemetry do
  @moduledoc """
  Events of runs, streams, tools and workers.

  | event | measurements | metadata |
  | --- | --- | --- |
  | `[:axon_port, kind, :start]` | `system_time` | what it is about |
  | `[:axon_port, kind, :stop]` | `duration`, and for runs what it cost | the same |
  | `[:axon_port, kind, :exception]` | the same | the same, `reason` and `error_type` |

  `kind` is `:run`, `:stream`, `:tool` or `:worker`. Durations are in native units, as `:telemetry` has them. Each
  `:start` is followed by one `:stop` or one `:exception`, whoever dies in between. The `reason` of a tool's is a text, or
  `:cancelled`.

  | kind | metadata | further measurements at the end |
  | --- | --- | --- |
  | `:run`, `:stream` | `worker`, `agent_id`, `ref` | `requests`, `input_tokens`, `output_tokens`, `tool_calls` |
  | `:tool` | `worker`, `agent_id`, `ref`, `tool`, `call_id` | |
  | `:worker` | `worker`, `os_pid` | |

  A worker starts when its process does; an orderly end is its `:stop`, any other its `:exception`.

  Handlers that are attached here are called by this module alone. Where `:telemetry` is loaded as well, each event also
  goes through it, to what is attached there: attach a handler in one of the two places. Either way handlers run in the
  process that owns the worker, or that has outlived it, so they have to be quick; one that raises is detached, and an
  error is logged.
  """

  alias AxonPort.Stacktrace

  require Logger

  @compile {:no_warn_undefined, :telemetry}

  @kinds [:run, :stream, :tool, :worker]
  @phases [:start, :stop, :exception]

  @type event :: [atom, ...]
  @type handler :: (event, measurements :: map, metadata :: map, config :: term -> term)

  @doc "Every event there is."
  @spec events() :: [event]
  def events, do: for(kind <- @kinds, phase <- @phases, do: [:axon_port, kind, phase])

  @doc "Calls the handler at each of these events. Raises `ArgumentError` for one that there is not."
  @spec attach(id :: term, [event], handler, config :: term) :: :ok | {:error, :already_exists}
  def attach(id, events, handler, config \\ nil) when is_list(events) and is_function(handler, 4) do
    with [event | _more] <- events -- events(),
         do: raise(ArgumentError, "#{inspect(event)} is no event: see AxonPort.Telemetry")

    change(fn handlers ->
      if Map.has_key?(handlers, id),
        do: {{:error, :already_exists}, handlers},
        else: {:ok, Map.put(handlers, id, {events, handler, config})}
    end)
  end

  @doc "Calls the handler no more."
  @spec detach(id :: term) :: :ok | {:error, :not_found}
  def detach(id) do
    change(fn handlers ->
      if Map.has_key?(handlers, id),
        do: {:ok, Map.delete(handlers, id)},
        else: {{:error, :not_found}, handlers}
    end)
  end

  @doc false
  @spec start(atom, map) :: integer
  def start(kind, metadata) do
    execute([:axon_port, kind, :start], %{system_time: System.system_time()}, metadata)
    System.monotonic_time()
  end

  @doc false
  @spec stop(atom, integer, map, map) :: :ok
  def stop(kind, started_at, metadata, measurements \\ %{}) do
    execute([:axon_port, kind, :stop], Map.put(measurements, :duration, since(started_at)), metadata)
  end

  @doc false
  @spec exception(atom, integer, map, map, map) :: :ok
  def exception(kind, started_at, metadata, failure, measurements \\ %{}) do
    measurements = Map.put(measurements, :duration, since(started_at))
    execute([:axon_port, kind, :exception], measurements, Map.merge(metadata, failure))
  end

  defp since(started_at), do: System.monotonic_time() - started_at

  @doc "Sends an event to whoever is attached."
  @spec execute(event, map, map) :: :ok
  def execute(event, measurements, metadata) do
    for {id, {events, handler, config}} <- handlers(), event in events do
      call(id, handler, [event, measurements, metadata, config])
    end

    # Whoever has attached something there has loaded it, and it may have come late.
    if :erlang.function_exported(:telemetry, :execute, 3),
      do: :telemetry.execute(event, measurements, metadata),
      else: :ok
  end

  defp call(id, handler, arguments) do
    apply(handler, arguments)
  catch
    kind, reason ->
      detach(id)
      {reason, stacktrace} = Stacktrace.without_arguments(kind, reason, __STACKTRACE__)

      Logger.error(
        "telemetry handler #{inspect(id)} is detached: " <> Exception.format(kind, reason, stacktrace)
      )
  end

  # Handlers are attached seldom and read at every event: that is what a persistent term is for. Writers take turns.

  defp handlers, do: :persistent_term.get(__MODULE__, %{})

  defp change(fun) do
    :global.trans({__MODULE__, self()}, fn -> fun.(handlers()) |> put_handlers() end, [node()])
  end

  defp put_handlers({answer, handlers}) do
    :persistent_term.put(__MODULE__, handlers)
    answer
  end
end
