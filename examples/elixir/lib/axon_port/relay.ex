defmodule AxonPort.Relay do
  @moduledoc """
  The process between a worker and somebody who wants messages (`AxonPort.run/4`).

  It keeps one promise: one terminal message, `{:axon_port, ref, {:result, _}}` or `{:axon_port, ref, {:error, _}}`,
  even where the process that owns the worker is killed, and where its own code is loaded anew. It ends with that
  message, or with its owner, or with whoever opens it if that is before it was handed over: then nobody would know of
  its run.

  To the worker it is the owner of the run, so that the run is cancelled wherever it ends. A run that a worker refuses
  before it began it gives to another one.
  """

  use GenServer, restart: :temporary

  alias AxonPort.{Error, Request, Result, Router, Worker}

  @enforce_keys [:server, :worker, :request, :owner, :opener]
  defstruct [:server, :worker, :request, :owner, :ref, :output, :opener, :opener_monitor, :monitor, tried: []]

  @doc "Opens a request at a worker of the server, with a relay between that and whoever wants its messages."
  @spec open(AxonPort.server(), Worker.server(), Request.t()) :: {:ok, Worker.opened()} | {:error, Error.t()}
  def open(server, worker, %Request{owner: owner} = request) do
    state = %__MODULE__{server: server, worker: worker, request: request, owner: owner, opener: self()}
    {:ok, relay} = GenServer.start(__MODULE__, state)

    case Worker.open(worker, %{request | owner: relay}, relay) do
      {:ok, opened} ->
        GenServer.cast(relay, :handed_over)
        {:ok, opened}

      {:error, error} ->
        Process.exit(relay, :kill)
        {:error, error}
    end
  end

  @impl true
  def init(%__MODULE__{request: request} = state) do
    Process.monitor(state.owner)
    monitor = Process.monitor(state.opener)
    {:ok, %{state | ref: request.ref, output: request.output, opener_monitor: monitor}}
  end

  # Until then its opener hears of the worker's death. A refusal may have been quicker, and the run be elsewhere by now.
  @impl true
  def handle_cast(:handed_over, state) do
    Process.demonitor(state.opener_monitor, [:flush])
    {:noreply, %{state | monitor: state.monitor || Process.monitor(state.worker)}}
  end

  @impl true
  def handle_info({:axon_port, ref, {:chunk, _chunk} = chunk}, %{ref: ref} = state) do
    tell(state, chunk)
    {:noreply, %{state | request: nil}}
  end

  def handle_info({:axon_port, ref, {:result, result}}, %{ref: ref} = state) do
    case Result.cast(result, state.output) do
      {:ok, result} -> last(state, {:result, result})
      {:error, error} -> last(state, {:error, error})
    end
  end

  def handle_info({:axon_port, ref, {:error, error}}, %{ref: ref} = state), do: elsewhere(state, error)

  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{monitor: monitor} = state),
    do: last(state, {:error, Error.new(:worker_exited, %{reason: reason})})

  # The owner, or whoever should have handed it over.
  def handle_info({:DOWN, _monitor, :process, _pid, _reason}, state), do: {:stop, :normal, state}
  def handle_info(_stray, state), do: {:noreply, state}

  # The request is kept until the first chunk: a worker that refuses does so before that.
  defp elsewhere(%{request: request} = state, error) when request != nil do
    if state.monitor, do: Process.demonitor(state.monitor, [:flush])
    tried = [state.worker | state.tried]

    case Router.reopen(state.server, request, &open_here/2, tried, error) do
      {:ok, worker} ->
        {:noreply, %{state | worker: worker, tried: tried, monitor: Process.monitor(worker)}}

      {:error, error} ->
        last(state, {:error, error})
    end
  end

  defp elsewhere(state, error), do: last(state, {:error, error})

  defp open_here(worker, request) do
    with {:ok, _opened} <- Worker.open(worker, %{request | owner: self()}, self()), do: {:ok, worker}
  end

  defp last(state, message) do
    tell(state, message)
    {:stop, :normal, state}
  end

  defp tell(%{owner: owner, ref: ref}, message), do: send(owner, {:axon_port, ref, message})

  # What is said is not for a report.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  def format_status(status) do
    status
    |> Map.replace_lazy(:state, &Map.take(&1, [:server, :owner, :ref, :worker]))
    |> Map.replace(:message, :not_shown)
    |> Map.replace(:log, [])
  end
end
